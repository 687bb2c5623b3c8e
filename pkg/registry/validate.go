package registry

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/pkg/chat"
)

// Bounds of what an operator may set.
const (
	MaxName        = 200 // characters
	MaxVerifyToken = 512 // bytes
	MaxURL         = 2048
	MaxFlow        = 512 << 10 // bytes of YAML
	MaxRetries     = 50
	MaxRetryDelay  = 7 * 24 * time.Hour
	MinTimeout     = time.Second
	MaxTimeout     = time.Minute
	MaxInFlight    = 1000
	MaxSecrets     = 5
)

// The policies of an endpoint whose retries are used up.
const (
	OnExhaustedSkip = "skip"
	OnExhaustedHold = "hold"
)

// The kinds of bot.
const (
	BotEcho = "echo"
	BotFlow = "flow"
	BotHTTP = "http"
)

// FlowCheck reports what is wrong with a flow's YAML; a *chat.ValidationError
// keeps its problems apart.
type FlowCheck func(botID string, yaml []byte) error

// ValidateChannel returns a *chat.ValidationError, or nil.
func ValidateChannel(c *chat.Channel) error {
	var p chat.Problems
	checkID(&p, "/id", "channel", c.ID)
	checkID(&p, "/botId", "bot", c.BotID)
	checkName(&p, c.Name)
	checkReason(&p, "/paused", c.Paused)
	return p.Err()
}

// ValidateBot returns a *chat.ValidationError, or nil. A nil check accepts every
// flow, and a nil urlCheck every well-formed URL.
func ValidateBot(b *chat.Bot, check FlowCheck, urlCheck func(string) error) error {
	var p chat.Problems
	checkID(&p, "/id", "bot", b.ID)
	checkName(&p, b.Name)
	checkReason(&p, "/paused", b.Paused)
	switch b.Kind {
	case BotEcho:
	case BotFlow:
		checkFlow(&p, b, check)
	case BotHTTP:
		checkHTTPBot(&p, b, urlCheck)
	default:
		p.Add("/kind", fmt.Sprintf(`%q is no kind of bot: use "echo", "flow" or "http"`, b.Kind))
		return p.Err()
	}
	checkForeign(&p, b)
	return p.Err()
}

func checkHTTPBot(p *chat.Problems, b *chat.Bot, urlCheck func(string) error) {
	checkURL(p, "/url", b.URL, urlCheck)
	checkSending(p, b.URL, &b.Sending, urlCheck)
	checkRetry(p, b.Retry)
	checkTimeout(p, b.Timeout)
	checkInFlight(p, b.MaxInFlight)
	if b.Fallback != "" && strings.TrimSpace(b.Fallback) == "" {
		p.Add("/fallback", "the fallback is blank: give the text to send, or leave it out")
	}
	if n := utf8.RuneCountInString(b.Fallback); n > chat.MaxText {
		p.Add("/fallback", fmt.Sprintf("the fallback has %d characters: at most %d fit", n, chat.MaxText))
	}
}

// checkForeign notes what a bot of another kind has.
func checkForeign(p *chat.Problems, b *chat.Bot) {
	for _, field := range []struct {
		pointer, kind string
		set           bool
	}{
		{"/flow", BotFlow, b.Flow != ""},
		{"/url", BotHTTP, b.URL != ""},
		{"/secrets", BotHTTP, len(b.Secrets)+len(b.Retiring) > 0},
		{"/v1a", BotHTTP, b.SigningKey != ""},
		{"/headers", BotHTTP, len(b.Headers) > 0},
		{"/auth", BotHTTP, b.Auth != nil},
		{"/tls", BotHTTP, b.TLS != nil},
		{"/retry", BotHTTP, len(b.Retry) > 0},
		{"/timeout", BotHTTP, b.Timeout != 0},
		{"/maxInFlight", BotHTTP, b.MaxInFlight != 0},
		{"/fallback", BotHTTP, b.Fallback != ""},
	} {
		if field.set && field.kind != b.Kind {
			p.Add(field.pointer, fmt.Sprintf("a bot of kind %q has none: leave it out, or make the kind %q", b.Kind, field.kind))
		}
	}
}

func checkFlow(p *chat.Problems, b *chat.Bot, check FlowCheck) {
	switch {
	case strings.TrimSpace(b.Flow) == "":
		p.Add("/flow", "a flow bot needs its flow: give the YAML")
	case len(b.Flow) > MaxFlow:
		p.Add("/flow", fmt.Sprintf("the flow has %d bytes: at most %d fit", len(b.Flow), MaxFlow))
	case check != nil:
		addAll(p, "/flow", check(b.ID, []byte(b.Flow)))
	}
}

// addAll notes an error at a place, each problem of a validation error by itself.
func addAll(p *chat.Problems, pointer string, err error) {
	var invalid *chat.ValidationError
	switch {
	case err == nil:
	case errors.As(err, &invalid):
		for _, problem := range invalid.Problems {
			p.Add(pointer+problem.Pointer, problem.Detail)
		}
	default:
		p.Add(pointer, err.Error())
	}
}

// ValidateEndpoint returns a *chat.ValidationError, or nil. urlCheck says
// whether an address may be sent to; nil accepts every well-formed one.
func ValidateEndpoint(e *chat.Endpoint, urlCheck func(string) error) error {
	var p chat.Problems
	checkID(&p, "/id", "endpoint", e.ID)
	checkID(&p, "/channelId", "channel", e.ChannelID)
	checkURL(&p, "/url", e.URL, urlCheck)
	checkVerifyToken(&p, e.VerifyToken)
	checkSending(&p, e.URL, &e.Sending, urlCheck)
	for i, event := range e.Events {
		if !chat.IsEvent(event) {
			p.Add(fmt.Sprintf("/events/%d", i), fmt.Sprintf("%q is no event: use %s", event, strings.Join(chat.Events(), ", ")))
		}
	}
	checkRetry(&p, e.Retry)
	checkTimeout(&p, e.Timeout)
	if x := e.ExpireAfter.Std(); x != 0 && x < time.Second {
		p.Add("/expireAfter", fmt.Sprintf("messages would expire after %s: set at least 1s, or leave it out", x))
	}
	if x := e.DisableAfter.Std(); x > 0 && x < time.Hour {
		p.Add("/disableAfter", fmt.Sprintf("the endpoint would be disabled after %s of failures: set at least 1h, or leave it out", x))
	}
	switch e.OnExhausted {
	case "", OnExhaustedSkip, OnExhaustedHold:
	default:
		p.Add("/onExhausted", fmt.Sprintf(`%q is no policy: use "skip" or "hold"`, e.OnExhausted))
	}
	checkInFlight(&p, e.MaxInFlight)
	checkReason(&p, "/disabled", e.Disabled)
	checkReason(&p, "/paused", e.Paused)
	return p.Err()
}

func checkURL(p *chat.Problems, at, text string, more func(string) error) {
	const want = "give an absolute URL such as https://example.com/hook"
	u, err := url.Parse(text)
	switch {
	case text == "":
		p.Add(at, "the URL is missing: "+want)
	case len(text) > MaxURL:
		p.Add(at, fmt.Sprintf("the URL has more than %d characters: shorten it", MaxURL))
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		p.Add(at, "the URL can't be used: "+want)
	case u.User != nil:
		p.Add(at, "the URL carries a user name or password: leave them out, and set the authentication instead")
	case u.Fragment != "":
		p.Add(at, "the URL has a fragment (#…), which is never sent: leave it out")
	case more != nil:
		addAll(p, at, more(text))
	}
}

func checkRetry(p *chat.Problems, delays []chat.Duration) {
	if len(delays) > MaxRetries {
		p.Add("/retry", fmt.Sprintf("the schedule has %d delays: at most %d", len(delays), MaxRetries))
		return
	}
	for i, d := range delays {
		if d.Std() <= 0 || d.Std() > MaxRetryDelay {
			p.Add(fmt.Sprintf("/retry/%d", i), fmt.Sprintf("a delay of %s: make it more than 0 and at most %s", d.Std(), MaxRetryDelay))
		}
	}
}

func checkTimeout(p *chat.Problems, d chat.Duration) {
	if t := d.Std(); t != 0 && (t < MinTimeout || t > MaxTimeout) {
		p.Add("/timeout", fmt.Sprintf("the timeout is %s: set it to %s..%s", t, MinTimeout, MaxTimeout))
	}
}

func checkInFlight(p *chat.Problems, n int) {
	if n < 0 || n > MaxInFlight {
		p.Add("/maxInFlight", fmt.Sprintf("maxInFlight is %d: set it to 0..%d, 0 for the default", n, MaxInFlight))
	}
}

func checkName(p *chat.Problems, name string) {
	if utf8.RuneCountInString(name) > MaxName {
		p.Add("/name", fmt.Sprintf("the name has more than %d characters: shorten it", MaxName))
	}
}

func checkReason(p *chat.Problems, pointer, reason string) {
	if utf8.RuneCountInString(reason) > MaxName {
		p.Add(pointer, fmt.Sprintf("the reason has more than %d characters: shorten it", MaxName))
	}
}

func checkID(p *chat.Problems, pointer, kind, id string) {
	if err := chat.ValidateID(kind, id); err != nil {
		p.Add(pointer, err.Error())
	}
}
