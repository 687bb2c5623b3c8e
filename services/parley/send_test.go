package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSend(t *testing.T) {
	for name, tc := range map[string]struct {
		args  []string
		stdin string
		want  string // the body
	}{
		"text": {
			args: []string{"hello"},
			want: `{"conversationId":"anna","message":{"textMessage":{"text":"hello"}}}`,
		},
		"text from the standard input": {
			args: []string{"-"}, stdin: "two\nlines\n",
			want: `{"conversationId":"anna","message":{"textMessage":{"text":"two\nlines"}}}`,
		},
		"postback, its payload untouched": {
			args: []string{"--postback", `{"params":[], "x": "ü"}`, "Order"},
			want: `{"conversationId":"anna","message":{"postbackMessage":{"title":"Order","payload":"{\"params\":[], \"x\": \"ü\"}"}}}`,
		},
		"any message": {
			args: []string{"--json", `{"introMessage":{}}`},
			want: `{"conversationId":"anna","message":{"introMessage":{}}}`,
		},
		"locale and session data": {
			args: []string{"--locale", "nl-NL", "--session-data", `{"a":1}`, "hoi"},
			want: `{"conversationId":"anna","locale":"nl-NL","message":{"textMessage":{"text":"hoi"}},"sessionData":{"a":1}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got *http.Request
			var body []byte
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, `{"messageId":"msg_1","conversationId":"anna"}`)
			}))
			defer api.Close()
			env := []string{"PARLEY_TOKEN=pat_1", "PARLEY_URL=" + api.URL}
			args := append([]string{"send", "--channel", "a/b", "--conversation", "anna", "--idempotency-key", "k"}, tc.args...)

			r := parley(t, env, tc.stdin, args...)

			require.Equal(t, exitOK, r.code, r.stderr)
			require.Contains(t, r.stdout, "msg_1")
			require.JSONEq(t, tc.want, string(body))
			require.Equal(t, "/v1/channels/webhook/a%2Fb/messages", got.URL.EscapedPath())
			require.Equal(t, "Bearer pat_1", got.Header.Get("Authorization"))
			require.Equal(t, "k", got.Header.Get("Idempotency-Key"))
			require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		})
	}
}

func TestSendPrintsJSONWhenAsked(t *testing.T) {
	api := answering(t, http.StatusAccepted, "application/json", `{"messageId":"msg_1","conversationId":"anna"}`)
	r := parley(t, nil, "", "send", "--url", api, "--channel", "c", "--conversation", "anna", "--json", `{"introMessage":{}}`)
	require.Equal(t, exitOK, r.code, r.stderr)
	var answer acceptedAnswer
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &answer))
	require.Equal(t, acceptedAnswer{MessageID: "msg_1", ConversationID: "anna"}, answer)
}

func TestSendMakesProblemsReadable(t *testing.T) {
	for name, tc := range map[string]struct {
		status            int
		contentType, body string
		want              string
	}{
		"problem": {
			status: 422, contentType: "application/problem+json; charset=utf-8",
			body: `{"title":"The message is invalid","status":422,"detail":"one thing is wrong","errors":[{"pointer":"/message","detail":"has two kinds"},{"pointer":"","detail":"odd\u001b[2J"}]}`,
			want: "parley: the API answered 422 The message is invalid: one thing is wrong\n  /message: has two kinds\n  the body: odd?[2J\n  try again after 7 seconds\n",
		},
		"something else": {
			status: 502, contentType: "text/html", body: "<p>Bad gateway</p>",
			want: "parley: the API answered 502 Bad Gateway: <p>Bad gateway</p>\n  try again after 7 seconds\n",
		},
		"redirect": {
			status: 302, want: "parley: the API answered 302 Found\n  try again after 7 seconds\n",
		},
		"broken problem": {
			status: 500, contentType: "application/problem+json", body: "{",
			want: "parley: the API answered 500 Internal Server Error: its problem body can't be read: unexpected end of JSON input\n  try again after 7 seconds\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := answering(t, tc.status, tc.contentType, tc.body)
			r := parley(t, nil, "", "send", "--url", api, "--channel", "c", "--conversation", "x", "hello")
			require.Equal(t, result{code: exitFailed, stderr: tc.want}, r)
		})
	}
}

func TestSendRefusesWhatCannotWork(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no URL":               {[]string{"--url", "localhost", "hi"}, "write it like http://127.0.0.1:8080"},
		"message not JSON":     {[]string{"--json", "hi"}, "is not a JSON object"},
		"session data no JSON": {[]string{"--session-data", "x", "hi"}, "--session-data is not JSON"},
		"postback and JSON":    {[]string{"--json", "--postback", "x", "{}"}, "[json postback]"},
		"nobody there":         {[]string{"--url", "http://127.0.0.1:1", "hi"}, "the API can't be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			r := parley(t, nil, "", append([]string{"send", "--channel", "c", "--conversation", "x"}, tc.args...)...)
			require.NotEqual(t, exitOK, r.code)
			require.Contains(t, r.stderr, tc.want)
		})
	}
}

func TestHealth(t *testing.T) {
	require.Equal(t, result{stdout: "ready\n"}, parley(t, nil, "", "health", "--url", answering(t, 200, "", "{}")))

	r := parley(t, nil, "", "health", "--url", answering(t, 503, "application/json", `{"nats":"down"}`))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, `answered 503 Service Unavailable: {"nats":"down"}`)
}

// answering is an API that always answers the same; Retry-After is 7.
func answering(t *testing.T, status int, contentType, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}
