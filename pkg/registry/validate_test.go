package registry_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// pointers returns where a validation error finds problems; none for nil.
func pointers(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *chat.ValidationError
	require.ErrorAs(t, err, &invalid)
	out := make([]string, len(invalid.Problems))
	for i, p := range invalid.Problems {
		out[i] = p.Pointer
		require.NotEmpty(t, p.Detail)
	}
	return out
}

func TestValidateEndpoint(t *testing.T) {
	d := func(x time.Duration) chat.Duration { return chat.Duration(x) }
	for name, c := range map[string]struct {
		change func(*chat.Endpoint)
		want   []string
	}{
		"good":            {func(*chat.Endpoint) {}, nil},
		"no id":           {func(e *chat.Endpoint) { e.ID = "" }, []string{"/id"}},
		"bad channel":     {func(e *chat.Endpoint) { e.ChannelID = "A b" }, []string{"/channelId"}},
		"no url":          {func(e *chat.Endpoint) { e.URL = "" }, []string{"/url"}},
		"relative url":    {func(e *chat.Endpoint) { e.URL = "/hook" }, []string{"/url"}},
		"ftp":             {func(e *chat.Endpoint) { e.URL = "ftp://example.com" }, []string{"/url"}},
		"user info":       {func(e *chat.Endpoint) { e.URL = "https://me:pw@example.com" }, []string{"/url"}},
		"fragment":        {func(e *chat.Endpoint) { e.URL = "https://example.com/#x" }, []string{"/url"}},
		"long url":        {func(e *chat.Endpoint) { e.URL = "https://example.com/" + strings.Repeat("x", 2048) }, []string{"/url"}},
		"forbidden url":   {func(e *chat.Endpoint) { e.URL = "https://forbidden.example" }, []string{"/url"}},
		"long token":      {func(e *chat.Endpoint) { e.VerifyToken = chat.Secret(strings.Repeat("x", 513)) }, []string{"/verifyToken"}},
		"redacted token":  {func(e *chat.Endpoint) { e.VerifyToken = "[redacted]" }, []string{"/verifyToken"}},
		"foreign secret":  {func(e *chat.Endpoint) { e.Secrets = []chat.Secret{secretOne, "whsec_eA=="} }, []string{"/secrets/1"}},
		"many secrets":    {func(e *chat.Endpoint) { e.Secrets = slices.Repeat([]chat.Secret{secretOne}, 6) }, []string{"/secrets"}},
		"unknown event":   {func(e *chat.Endpoint) { e.Events = []string{chat.EventMessage, "typing"} }, []string{"/events/1"}},
		"50 delays":       {func(e *chat.Endpoint) { e.Retry = slices.Repeat([]chat.Duration{d(time.Second)}, 50) }, nil},
		"51 delays":       {func(e *chat.Endpoint) { e.Retry = slices.Repeat([]chat.Duration{d(time.Second)}, 51) }, []string{"/retry"}},
		"delays":          {func(e *chat.Endpoint) { e.Retry = []chat.Duration{0, d(7 * 24 * time.Hour), d(7*24*time.Hour + 1)} }, []string{"/retry/0", "/retry/2"}},
		"timeouts":        {func(e *chat.Endpoint) { e.Timeout = d(time.Minute) }, nil},
		"short timeout":   {func(e *chat.Endpoint) { e.Timeout = d(999 * time.Millisecond) }, []string{"/timeout"}},
		"long timeout":    {func(e *chat.Endpoint) { e.Timeout = d(61 * time.Second) }, []string{"/timeout"}},
		"long pause":      {func(e *chat.Endpoint) { e.Paused = strings.Repeat("x", 201) }, []string{"/paused"}},
		"short expiry":    {func(e *chat.Endpoint) { e.ExpireAfter = d(time.Millisecond) }, []string{"/expireAfter"}},
		"hold":            {func(e *chat.Endpoint) { e.OnExhausted = "hold" }, nil},
		"unknown policy":  {func(e *chat.Endpoint) { e.OnExhausted = "drop" }, []string{"/onExhausted"}},
		"negative flight": {func(e *chat.Endpoint) { e.MaxInFlight = -1 }, []string{"/maxInFlight"}},
		"much in flight":  {func(e *chat.Endpoint) { e.MaxInFlight = 1001 }, []string{"/maxInFlight"}},
		"long reason":     {func(e *chat.Endpoint) { e.Disabled = strings.Repeat("ü", 201) }, []string{"/disabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := shopEndpoint()
			c.change(&e)
			err := registry.ValidateEndpoint(&e, func(u string) error {
				if strings.Contains(u, "forbidden") {
					return errors.New("this address is not allowed")
				}
				return nil
			})
			require.Equal(t, c.want, pointers(t, err))
		})
	}
}

func TestValidateBotAndChannel(t *testing.T) {
	check := func(_ string, yaml []byte) error {
		switch string(yaml) {
		case "lines":
			return &chat.ValidationError{Problems: []chat.Problem{{Detail: "line 3: no such dialog"}, {Pointer: "/x", Detail: "line 4: hm"}}}
		case "plain":
			return errors.New("no YAML")
		}
		return nil
	}
	for name, c := range map[string]struct {
		bot  chat.Bot
		want []string
	}{
		"echo":           {chat.Bot{ID: "a", Kind: "echo"}, nil},
		"echo with flow": {chat.Bot{ID: "a", Kind: "echo", Flow: "x"}, []string{"/flow"}},
		"flow":           {chat.Bot{ID: "a", Kind: "flow", Flow: "good"}, nil},
		"no flow":        {chat.Bot{ID: "a", Kind: "flow", Flow: " "}, []string{"/flow"}},
		"large flow":     {chat.Bot{ID: "a", Kind: "flow", Flow: strings.Repeat("x", registry.MaxFlow+1)}, []string{"/flow"}},
		"bad flow":       {chat.Bot{ID: "a", Kind: "flow", Flow: "lines"}, []string{"/flow", "/flow/x"}},
		"not yaml":       {chat.Bot{ID: "a", Kind: "flow", Flow: "plain"}, []string{"/flow"}},
		"kind":           {chat.Bot{ID: "a", Kind: "magic"}, []string{"/kind"}},
		"id and name":    {chat.Bot{ID: "-", Kind: "echo", Name: strings.Repeat("x", 201)}, []string{"/id", "/name"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, pointers(t, registry.ValidateBot(&c.bot, check)))
		})
	}
	require.NoError(t, registry.ValidateChannel(&chat.Channel{ID: "a", BotID: "b"}))
	require.Equal(t, []string{"/id", "/botId"}, pointers(t, registry.ValidateChannel(&chat.Channel{})))
}
