package main

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

func TestAnswers(t *testing.T) {
	keys, err := webhook.ParseSecrets([]chat.Secret{webhook.NewSecret()})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		body, stranger string
		status         int
		answer         string
	}{
		"a new session": {
			body:   `{"newSession":true,"message":{"textMessage":{"text":"one"}},"user":{"firstName":"Anna"},"sessionData":{}}`,
			status: 200, answer: `{"messages":[{"text":"Hello Anna! I count what you say."},{"text":"1: one"}],"sessionData":{"turns":1}}`,
		},
		"goes on": {
			body: `{"message":{"textMessage":{"text":"two"}},"sessionData":{"turns":1}}`, status: 200,
			answer: `{"messages":[{"text":"2: two"}],"sessionData":{"turns":2}}`,
		},
		"not JSON":   {body: `hello`, status: 400},
		"a stranger": {body: `{}`, stranger: " ", status: 401},
		"too large":  {body: strings.Repeat(" ", maxBody+1), status: 400},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/turn", strings.NewReader(c.body+c.stranger))
			r.Header.Set(webhook.HeaderID, "msg_1-0")
			r.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
			r.Header.Set(webhook.HeaderSignature, webhook.Sign(keys, "msg_1-0", now, []byte(c.body)))
			w := httptest.NewRecorder()
			handler{keys}.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code, w.Body)
			if c.answer != "" {
				require.JSONEq(t, c.answer, w.Body.String())
				_, err := chat.DecodeBotAnswer(w.Body.Bytes())
				require.NoError(t, err)
			}
		})
	}
	require.ErrorContains(t, run(t.Context(), "127.0.0.1:0", "secret"), "PARLEY_BOT_SECRET")
}
