package webhooktest_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// send posts a message of a conversation and returns the status, 0 for none.
func send(t *testing.T, c *webhook.Client, r *webhooktest.Receiver, conversation string) int {
	t.Helper()
	return c.Do(t.Context(), webhook.Request{
		URL: r.ParsedURL(), MessageID: "m", Attempt: 1, Body: webhook.RenderBody(conversation, "", []byte(`{"text":"x"}`), 1, nil),
	}).Status
}

func TestPlanIsGoneThroughStepByStep(t *testing.T) {
	status := func(code, times int) webhooktest.Step {
		return webhooktest.Step{Reply: webhooktest.Reply{Status: code}, Times: times}
	}
	own := status(410, 0)
	own.Conversation = "b"
	reset := webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.Reset}}
	for _, c := range []struct {
		name  string
		plan  webhooktest.Plan
		sends string // conversations
		want  []int
	}{
		{"no steps", webhooktest.Plan{}, "aa", []int{200, 200}},
		{"in order", webhooktest.Plan{Steps: []webhooktest.Step{status(503, 2), reset, status(204, 1)}}, "abaab", []int{503, 503, 0, 204, 200}},
		{"for ever", webhooktest.Plan{Steps: []webhooktest.Step{status(500, 1), status(429, webhooktest.Forever), status(201, 1)}}, "aaaa", []int{500, 429, 429, 429}},
		{"for one conversation", webhooktest.Plan{Steps: []webhooktest.Step{own, status(503, 3)}}, "ababab", []int{503, 410, 503, 503, 200, 200}},
		{
			"for each conversation",
			webhooktest.Plan{Steps: []webhooktest.Step{status(503, 1), status(500, 1)}, EachConversation: true},
			"aababbc",
			[]int{503, 500, 503, 200, 500, 200, 503},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := webhooktest.New(t, webhooktest.WithPlan(c.plan))
			var got []int
			for _, conversation := range c.sends {
				got = append(got, send(t, client(t), r, string(conversation)))
			}
			require.Equal(t, c.want, got)
			places := map[string]int{}
			for _, m := range r.All() {
				places[m.Body.SenderID]++
				require.Equal(t, places[m.Body.SenderID], m.Place)
			}
		})
	}
}

func TestAroundMayAnswerInThePlansPlace(t *testing.T) {
	secret := webhook.NewSecret()
	keys, err := webhook.ParseSecrets([]chat.Secret{secret})
	require.NoError(t, err)
	r := webhooktest.New(t, webhooktest.WithSecrets(secret),
		webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Status: 503}}),
		webhooktest.WithAround(func(next webhooktest.Script) webhooktest.Script {
			return func(n int, m *webhooktest.Received) webhooktest.Reply {
				if m.SignatureErr != nil {
					return webhooktest.Reply{Status: 401}
				}
				return next(n, m)
			}
		}))
	c := client(t)
	require.Equal(t, 401, send(t, c, r, "a"))
	signed := webhook.Request{URL: r.ParsedURL(), MessageID: "m", Attempt: 1, Body: []byte(`{}`), Keys: keys}
	require.Equal(t, 503, c.Do(t.Context(), signed).Status, "the step was not taken")
	require.Equal(t, 200, c.Do(t.Context(), signed).Status)
}

func TestReplyHasItsFields(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithSteps(
		webhooktest.Step{Reply: webhooktest.Reply{Status: 429, RetryAfter: 1500 * time.Millisecond}},
		webhooktest.Step{Reply: webhooktest.Reply{Status: 503, RetryAt: -time.Hour}},
		webhooktest.Step{Reply: webhooktest.Reply{Redirect: "http://169.254.169.254/"}},
		webhooktest.Step{Reply: webhooktest.Reply{HeaderBytes: 20 << 10, BodyBytes: 1000}},
		webhooktest.Step{Reply: webhooktest.Reply{Trickle: time.Millisecond, Body: "slow", Delay: time.Millisecond}},
	))
	next := func() (int, http.Header, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL(), http.NoBody)
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode, resp.Header, string(body)
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)

	status, header, _ := next()
	require.Equal(t, []any{429, "2"}, []any{status, header.Get("Retry-After")})
	_, header, _ = next()
	past, err := http.ParseTime(header.Get("Retry-After"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-time.Hour), past, time.Minute)
	status, header, _ = next()
	require.Equal(t, []any{307, "http://169.254.169.254/"}, []any{status, header.Get("Location")})
	_, header, body := next()
	require.Len(t, body, 1000)
	require.Len(t, header.Get("X-Filler-1")+header.Get("X-Filler-2")+header.Get("X-Filler-3"), 20<<10)
	_, _, body = next()
	require.Equal(t, "slow", body)
}

func TestAHeldHandshakeIsTheNextConnections(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithSteps(
		webhooktest.Step{Reply: webhooktest.Reply{Status: 201}},
		webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.HoldHandshake}},
		webhooktest.Step{Reply: webhooktest.Reply{Status: 202}},
	))
	c := client(t)
	require.Equal(t, 201, send(t, c, r, "a"))
	result := c.Do(t.Context(), webhook.Request{URL: r.ParsedURL(), MessageID: "m", Attempt: 1, Timeout: 100 * time.Millisecond})
	require.Equal(t, webhook.KindTimeout, webhook.KindOf(result.Err), "%v", result.Err)
	require.Equal(t, 202, send(t, c, r, "a"))
	require.Len(t, r.All(), 2, "what was held is no request")
}

func TestWhatDiedComesBack(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.Die, Down: 20 * time.Millisecond}}))
	c := client(t)
	require.Equal(t, 200, send(t, c, r, "a"))
	for send(t, c, r, "a") == 0 { // refused, then answered
		require.NoError(t, t.Context().Err())
	}
	require.Len(t, r.All(), 2)
}

func TestKeepBoundsWhatIsRecorded(t *testing.T) {
	r := webhooktest.New(t, webhooktest.WithKeep(2))
	for _, conversation := range []string{"a", "b", "a"} {
		require.Equal(t, 200, send(t, client(t), r, conversation))
	}
	all := r.All()
	require.Equal(t, []int{2, 3}, []int{all[0].N, all[1].N})
	require.Equal(t, 2, all[1].Place)
}

// Close ends what would never end by itself, over each protocol; goleak sees
// the rest.
func TestCloseEndsEverything(t *testing.T) {
	for name, options := range map[string][]webhooktest.Option{
		"HTTP/1.1": nil, "HTTP/1.1 with TLS": {webhooktest.WithTLS(), webhooktest.WithHTTP1()}, "HTTP/2": {webhooktest.WithTLS()},
	} {
		for _, reply := range []webhooktest.Reply{
			{Fault: webhooktest.Hang}, {Fault: webhooktest.EndlessBody}, {Delay: time.Hour}, {Trickle: time.Hour}, {Until: make(chan struct{})},
		} {
			t.Run(name+"/"+reply.String(), func(t *testing.T) {
				r, err := webhooktest.Start(append(options, webhooktest.WithSteps(webhooktest.Step{Reply: reply}))...)
				require.NoError(t, err)
				transport := r.Server().Client().Transport.(*http.Transport).Clone()
				defer transport.CloseIdleConnections()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL(), http.NoBody)
				require.NoError(t, err)
				ended := make(chan error, 1)
				go func() {
					resp, err := transport.RoundTrip(req)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						err = errors.Join(err, resp.Body.Close())
					}
					ended <- err
				}()
				_, err = r.Wait(t.Context(), 1)
				require.NoError(t, err)
				r.Close()
				switch err := <-ended; {
				case reply.Until == nil:
					require.Error(t, err, "what is cut off must not look like an answer")
				case name != "HTTP/2":
					require.NoError(t, err, "what only waits is finished")
				}
				r.Close() // again, for nothing
			})
		}
	}
	t.Run("endless header fields, unread", func(t *testing.T) {
		r, err := webhooktest.Start(webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.EndlessHeader}}))
		require.NoError(t, err)
		conn := dial(t, r)
		_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		require.NoError(t, err)
		_, err = r.Wait(t.Context(), 1)
		require.NoError(t, err)
		r.Close()
	})
	t.Run("held", func(t *testing.T) {
		r, err := webhooktest.Start(webhooktest.WithTLS(), webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.HoldHandshake}}))
		require.NoError(t, err)
		conn := dial(t, r)
		r.Close()
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err)
	})
	t.Run("dead", func(t *testing.T) {
		r, err := webhooktest.Start(webhooktest.WithSteps(webhooktest.Step{Reply: webhooktest.Reply{Fault: webhooktest.Die, Down: time.Hour}}))
		require.NoError(t, err)
		require.Equal(t, 200, send(t, client(t), r, "a"))
		r.Close()
	})
}

func dial(t *testing.T, r *webhooktest.Receiver) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.ParsedURL().Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	taken := webhooktest.New(t)
	for name, c := range map[string]struct {
		option webhooktest.Option
		says   string
	}{
		"secret":  {webhooktest.WithSecrets("nonsense"), "secret 1"},
		"plan":    {webhooktest.WithSteps(webhooktest.Step{}, webhooktest.Step{Reply: webhooktest.Reply{Status: 99}}), "step 2: the status is 99"},
		"address": {webhooktest.WithAddr(taken.ParsedURL().Host), "in use"},
	} {
		_, err := webhooktest.Start(c.option)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestParsePlan(t *testing.T) {
	want := webhooktest.Plan{EachConversation: true, Steps: []webhooktest.Step{
		{Reply: webhooktest.Reply{Status: 204}},
		{Reply: webhooktest.Reply{Fault: webhooktest.Hang}},
		{Reply: webhooktest.Reply{Status: 503, RetryAfter: 2 * time.Second, Header: http.Header{"X-Why": {"maintenance: 1"}}}, Times: 3},
		{Reply: webhooktest.Reply{Status: 429, RetryAt: -90 * time.Second}, Times: webhooktest.Forever},
		{Reply: webhooktest.Reply{Redirect: "http://169.254.169.254/", HeaderBytes: 10, BodyBytes: 20}, Conversation: "7"},
		{Reply: webhooktest.Reply{Fault: webhooktest.Die, Down: 5 * time.Second, Body: "bye", Delay: time.Second, Trickle: time.Millisecond}},
	}}
	for name, text := range map[string]string{
		"YAML": `
each: conversation
steps:
  - 204
  - hang
  - status: 503
    retry-after: 2
    times: 3
    header: {X-Why: "maintenance: 1"}
  - {status: 429, retry-after-date: -90s, times: forever}
  - redirect: http://169.254.169.254/
    header-bytes: 10
    body-bytes: 20
    conversation: 7
  - {fault: die, down: 5s, body: bye, delay: 1s, trickle: 1ms}
`,
		"JSON": `{
	"each": "conversation",
	"steps": [
		204, "hang",
		{"status": 503, "retry-after": "2s", "times": 3, "header": {"X-Why": "maintenance: 1"}},
		{"status": 429, "retry-after-date": "-90s", "times": "forever"},
		{"redirect": "http://169.254.169.254/", "header-bytes": 10, "body-bytes": 20, "conversation": "7"},
		{"fault": "die", "down": "5s", "body": "bye", "delay": "1s", "trickle": "1ms"}
	]
}`,
	} {
		got, err := webhooktest.ParsePlan([]byte(text))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	got, err := webhooktest.ParsePlan([]byte("[503, reset]"))
	require.NoError(t, err)
	require.Len(t, got.Steps, 2)
}

// The scripts of the documentation are such that a reader may copy.
func TestTheDocumentedScriptsParse(t *testing.T) {
	page, err := os.ReadFile("../../../docs/delivery.md")
	require.NoError(t, err)
	scripts := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, scripts, 2)
	for _, script := range scripts {
		_, err := webhooktest.ParsePlan(script[1])
		require.NoError(t, err, "%s", script[1])
	}
	for _, fault := range []webhooktest.Fault{
		webhooktest.Hang, webhooktest.Close, webhooktest.CloseInHeader, webhooktest.CloseInBody, webhooktest.Reset, webhooktest.ResetInBody,
		webhooktest.EndlessHeader, webhooktest.EndlessBody, webhooktest.NotHTTP, webhooktest.HoldHandshake, webhooktest.Die,
	} {
		require.Contains(t, string(page), "`"+string(fault)+"`")
	}
}

func TestParsePlanSaysWhereAndWhatToChange(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "there are no steps: list one or more",
		"steps:":                           "line 1: the steps must be a list",
		"steps: []":                        "there are no steps",
		"steps: [\n":                       "neither YAML nor JSON",
		"each: day\nsteps: [200]":          `line 1: each must be "conversation"`,
		"steps: [200]\nloop: true":         `line 2: "loop" is unknown here: use steps and each`,
		"- 200\n- 99":                      "line 2: step 2: the status is 99: use one from 200 to 599",
		"- explode":                        `line 1: step 1: the fault "explode" is unknown: use one of [hang close`,
		"- [200]":                          "line 1: step 1: it must be a status, a fault or a mapping",
		"- 200\n- statuss: 500":            `line 2: step 2: "statuss" is unknown: use body, body-bytes`,
		"- {status: 500, status: 501}":     "step 1: status stands there twice: remove one",
		"- status: ok":                     "step 1: status must be a whole number, such as 503",
		"- delay: 5":                       "step 1: delay must be a time with its unit, such as 200ms",
		"- delay: -5s":                     "step 1: a time must not be negative",
		"- retry-after: soon":              "step 1: retry-after must be a time with its unit",
		"- times: 0":                       "step 1: times must be a whole number of 1 and more, or forever",
		"- times: often":                   "step 1: times must be",
		"- header: x":                      "step 1: header must be a mapping",
		"- header: {X: }":                  "step 1: header X must be a text",
		"- header: {\"X Y\": z}":           `step 1: "X Y" is no name of a header field`,
		"- header: {X: \"a\\nb\"}":         "step 1: the header field X has a control character",
		"- redirect: \"a\\nb\"":            "step 1: the redirect has a control character",
		"- {fault: hang, status: 500}":     "step 1: hang has no answer: remove status",
		"- {redirect: /x, status: 500}":    "step 1: a redirect has a status from 300 to 399, not 500",
		"- {body: x, body-bytes: 3}":       "step 1: a body has its text or its size: remove one",
		"- body-bytes: -1":                 "step 1: -1 bytes of body: use 0 to",
		"- header-bytes: 99999999999":      "bytes of header fields: use 0 to",
		"- {fault: endless-body, body: x}": "step 1: an endless body has neither text nor size",
		"- {status: 500, down: 5s}":        "step 1: only what dies is down for a time: add the fault die",
		"- {fault: hold-handshake, conversation: a}":            "step 1: hold-handshake comes before there is a conversation: give it to all",
		"each: conversation\nsteps: [hold-handshake]":           "line 2: step 1: hold-handshake comes before",
		"- {status: 429, retry-after: 1, retry-after-date: 1s}": "step 1: Retry-After is a number of seconds or a date: remove one",
	} {
		_, err := webhooktest.ParsePlan([]byte(text))
		require.ErrorContains(t, err, want, text)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte("[503, reset, {status: 429, retry-after: 5}]"))
	f.Add([]byte("each: conversation\nsteps: [{fault: die, down: 5s}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := webhooktest.ParsePlan(data); err == nil {
			require.NoError(t, p.Validate())
			require.NotEmpty(t, p.Steps)
		}
	})
}

func TestReplySaysWhatItIs(t *testing.T) {
	for want, reply := range map[string]webhooktest.Reply{
		"200":                   {},
		"503, retry after 2s":   {Status: 503, RetryAfter: 2 * time.Second},
		"307, to http://x/":     {Redirect: "http://x/"},
		"hang":                  {Fault: webhooktest.Hang},
		"reset":                 {Fault: webhooktest.Reset},
		"201, die, for 5s":      {Status: 201, Fault: webhooktest.Die, Down: 5 * time.Second},
		"200, a byte each 10ms": {Trickle: 10 * time.Millisecond},
	} {
		require.Equal(t, want, reply.String())
	}
}
