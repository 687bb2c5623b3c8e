package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

const helloBody = `{"senderId":"anna","recipient":{"id":"anna"},"verifyToken":"v","message":{"text":"hello"},"messageCounter":3,"nlp":{"intent":{"name":"greet","score":1}}}`

// deliver builds a delivery as the pipeline sends it.
func deliver(t *testing.T, url string, secret chat.Secret, id, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Parley-Attempt", "1")
	if secret != "" {
		keys, err := webhook.ParseSecrets([]chat.Secret{secret})
		require.NoError(t, err)
		now := time.Now()
		req.Header.Set(webhook.HeaderID, id)
		req.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
		req.Header.Set(webhook.HeaderSignature, webhook.Sign(keys, id, now, []byte(body)))
	}
	return req
}

func TestCustomerEndpoint(t *testing.T) {
	secret, other := webhook.NewSecret(), webhook.NewSecret()
	for name, tc := range map[string]struct {
		change func(*http.Request)
		signed chat.Secret
		body   string
		status int
		said   string
		event  string
	}{
		"good":                {signed: secret, body: helloBody, status: 200},
		"event":               {signed: secret, body: `{"type":"offload","verifyToken":"v","data":{"a":1}}`, status: 200, event: `offload {"a":1}`},
		"another secret":      {signed: other, body: helloBody, status: 401, said: "the signature is wrong"},
		"no signature":        {body: helloBody, status: 401, said: "the signature is wrong"},
		"body changed":        {signed: secret, body: helloBody, status: 401, said: "the signature is wrong", change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")); r.ContentLength = 2 }},
		"no JSON":             {signed: secret, body: "hello", status: 400, said: "the body is no bot message"},
		"wrong verify token":  {signed: secret, body: strings.Replace(helloBody, `"v"`, `"w"`, 1), status: 401, said: "the verify token"},
		"GET":                 {signed: secret, status: 405, said: "are POSTed", change: func(r *http.Request) { r.Method = http.MethodGet }},
		"longer than allowed": {signed: secret, body: strings.Repeat(" ", maxDelivery+1), status: 400, said: "reading the body"},
	} {
		t.Run(name, func(t *testing.T) {
			verify, err := signatureCheck([]chat.Secret{secret})
			require.NoError(t, err)
			var got []*delivery
			var said []string
			c := &customerEndpoint{
				verify: verify, verifyToken: "v",
				accept:  func(d *delivery) error { got = append(got, d); return nil },
				refused: func(reason string) { said = append(said, reason) },
			}
			req := deliver(t, "http://customer/webhook", tc.signed, "msg_1", tc.body)
			if tc.change != nil {
				tc.change(req)
			}
			w := httptest.NewRecorder()

			c.handler().ServeHTTP(w, req)

			require.Equal(t, tc.status, w.Code, w.Body.String())
			if tc.said != "" {
				require.Empty(t, got)
				require.Len(t, said, 1)
				require.Contains(t, said[0], tc.said)
				return
			}
			require.Empty(t, said)
			if tc.event != "" {
				require.Len(t, got, 1)
				require.Equal(t, tc.event, got[0].Event+" "+got[0].Data)
				return
			}
			require.Equal(t, []*delivery{{
				ID: "msg_1", ConversationID: "anna", Counter: 3, Message: chat.Message{Text: "hello"}, Intent: "greet", Verified: true, Attempt: "1",
			}}, got)
		})
	}
}

// syncWriter hands each write to the test.
type syncWriter chan string

func (w syncWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestListen(t *testing.T) {
	secret := webhook.NewSecret()
	out := make(syncWriter, 16)
	ctx, cancel := context.WithCancel(t.Context())
	root := newRoot(&binder{})
	root.SetOut(out)
	root.SetErr(io.Discard)
	ended := make(chan int, 1)
	b := &binder{environ: []string{"PARLEY_SIGNING_SECRET=" + secret.Reveal()}, warnings: io.Discard}
	go func() {
		ended <- run(ctx, root, b, []string{"listen", "--addr", "127.0.0.1:0", "--verify-token", "v"}, io.Discard)
	}()
	url := strings.TrimSuffix(strings.TrimPrefix(<-out, "-- listening at "), ", Ctrl-C ends it\n")

	for path, want := range map[string]int{"/livez": 200, "/": 405} {
		require.Equal(t, want, status(t, get(t, url+path)), path)
	}
	require.Contains(t, <-out, "!! GET / answered 405")
	require.Equal(t, 200, status(t, deliver(t, url+"/any/path", secret, "msg_1", helloBody)))
	require.Contains(t, <-out, "#3 bot < hello\n")
	require.Equal(t, 401, status(t, deliver(t, url, webhook.NewSecret(), "msg_1", helloBody)))
	require.Contains(t, <-out, "!! POST / answered 401: the signature is wrong")

	cancel()
	require.Equal(t, exitOK, <-ended)
}

func TestListenFailsAsAsked(t *testing.T) {
	for name, tc := range map[string]struct {
		options listenOptions
		random  float64
		want    int
	}{
		"never":           {listenOptions{status: 500, failRate: 0}, 0, 200},
		"always":          {listenOptions{status: 503, failRate: 1}, 0.999, 503},
		"below the share": {listenOptions{status: 429, failRate: 0.2}, 0.19, 429},
		"above the share": {listenOptions{status: 429, failRate: 0.2}, 0.2, 200},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, tc.options.validate())
			answer := tc.options.answer(newTranscript(io.Discard), func() float64 { return tc.random })
			require.Equal(t, tc.want, answer())
		})
	}
	for _, args := range [][]string{{"--fail-rate", "1.1"}, {"--fail-rate=-1"}, {"--status", "199"}, {"--signing-secret", "nonsense"}, {"--addr", "nowhere"}} {
		r := parley(t, nil, "", append([]string{"listen"}, args...)...)
		require.Equal(t, exitFailed, r.code, args)
		require.Contains(t, r.stderr, strings.SplitN(args[0], "=", 2)[0])
	}
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	return req
}

func status(t *testing.T, req *http.Request) int {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// script writes a script for listen.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestListenFollowsAScript(t *testing.T) {
	secret := webhook.NewSecret()
	path := script(t, "- {status: 503, retry-after: 2s}\n- reset\n- {conversation: bob, status: 410}\n- 204\n")
	out := make(syncWriter, 32)
	ctx, cancel := context.WithCancel(t.Context())
	root := newRoot(&binder{})
	root.SetOut(out)
	root.SetErr(io.Discard)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, root, &binder{warnings: io.Discard}, []string{
			"listen", "--addr", "127.0.0.1:0", "--signing-secret", secret.Reveal(), "--script", path,
		}, io.Discard)
	}()
	url := strings.TrimSuffix(strings.TrimPrefix(<-out, "-- listening at "), ", Ctrl-C ends it\n")
	require.Contains(t, <-out, "answers by the 4 steps of "+path)

	require.Equal(t, 200, status(t, get(t, url+"/livez")))
	require.Equal(t, 405, status(t, get(t, url)))
	require.Contains(t, <-out, "!! GET / answered 405")
	require.Equal(t, 401, status(t, deliver(t, url, webhook.NewSecret(), "msg_1", helloBody)), "takes no step")
	require.Contains(t, <-out, "!! POST / answered 401: the signature is wrong")

	resp, err := http.DefaultClient.Do(deliver(t, url, secret, "msg_1", helloBody))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, []any{503, "2"}, []any{resp.StatusCode, resp.Header.Get("Retry-After")})
	require.Contains(t, <-out, "#3 bot < hello\n")
	require.Equal(t, "-- answered: 503, retry after 2s\n", <-out)

	_, err = http.DefaultClient.Do(deliver(t, url, secret, "msg_1", helloBody)) //nolint:bodyclose // there is none
	require.Error(t, err)
	<-out
	require.Equal(t, "-- answered: reset\n", <-out)
	require.Equal(t, 204, status(t, deliver(t, url, secret, "msg_1", helloBody)), "the third step is bob's")
	require.Equal(t, 200, status(t, deliver(t, url, secret, "msg_1", helloBody)), "after the last")

	cancel()
	require.Equal(t, exitOK, <-ended)
}

func TestListenSaysWhatIsWrongWithAScript(t *testing.T) {
	bad := script(t, "- 200\n- {status: 429, retry-afer: 5s}\n")
	for says, args := range map[string][]string{
		bad + `: line 2: step 2: "retry-afer" is unknown: use body,`: {"--script", bad},
		"--script: open ": {"--script", bad + ".gone"},
		"--addr: ":        {"--script", script(t, "- 200"), "--addr", "nowhere"},
		"script status":   {"--script", bad, "--status", "500"},
		"script":          {"--script", bad, "--fail-rate", "0.5"},
	} {
		r := parley(t, nil, "", append([]string{"listen"}, args...)...)
		require.NotEqual(t, exitOK, r.code, args)
		require.Contains(t, r.stderr, says)
	}
	help := parley(t, nil, "", "listen", "--help").stdout
	for _, fault := range []string{
		"hang", "close", "close-in-header", "close-in-body", "reset", "reset-in-body", "endless-header", "endless-body",
		"not-http", "hold-handshake", "die", "retry-after-date", "trickle", "header-bytes", "each: conversation",
	} {
		require.Contains(t, help, fault)
	}
}
