package httpbot

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback lets receivers of tests through.
func loopback() *webhook.Guard {
	return &webhook.Guard{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, AnyPort: true,
	}
}

func client(t *testing.T) *webhook.Client {
	t.Helper()
	c, err := webhook.NewClient(webhook.Options{Guard: loopback()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// scripted is a bot whose service answers as the script says.
func scripted(t *testing.T, script webhooktest.Script) (*Bot, *webhooktest.Receiver) {
	t.Helper()
	secret := webhook.NewSecret()
	r := webhooktest.New(t, webhooktest.WithSecrets(secret), webhooktest.WithScript(script))
	return made(t, client(t), nil, chat.Bot{URL: r.URL(), Sending: chat.Sending{Secrets: []chat.Secret{secret}}, Timeout: chat.Duration(5 * time.Second)}), r
}

func made(t *testing.T, c *webhook.Client, former *Bot, config chat.Bot) *Bot {
	t.Helper()
	b, err := New(Options{Client: c, Guard: loopback(), Config: &config, Former: former})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func says(body string) webhooktest.Script {
	return func(int, *webhooktest.Received) webhooktest.Reply { return webhooktest.Reply{Body: body} }
}

func TestTurn(t *testing.T) {
	b, r := scripted(t, says(`{
		"messages": [{"text": "Two Margheritas."}, {"text": "A title that is too long", "quick_replies": [{"content_type": "text", "title": "This is more than twenty characters"}]}],
		"sessionData": {"amount": 2, "visits": null},
		"nextDialogstate": "order/address",
		"locale": "en",
		"nlp": {"intent": {"name": "amount", "score": 0.9}},
		"somethingNew": true}`))
	turn := aTurn()
	turn.Attempt, turn.Replay = 3, "rpl_1"
	turn.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	answer, err := b.Respond(t.Context(), turn)
	require.NoError(t, err)
	nlp := &chat.NLP{Intent: chat.Intent{Name: "amount", Score: 0.9}}
	require.Len(t, answer.Outputs, 2)
	require.Equal(t, bot.Output{Message: chat.Message{Text: "Two Margheritas."}, NLP: nlp}, answer.Outputs[0])
	require.Len(t, answer.Outputs[1].Message.QuickReplies, 1)
	require.Len(t, answer.Warnings, 1, "Messenger's limits are warned of")
	require.Equal(t, bot.Session{
		Dialog: json.RawMessage(`"order/address"`), Locale: "en",
		Variables: map[string]any{"pizza": "Margherita", "amount": 2.0}, User: map[string]any{"firstName": "Anna"},
	}, answer.Session)
	require.Equal(t, map[string]any{"pizza": "Margherita", "visits": 3.0}, turn.Session.Variables, "the turn stays as it is")

	got := r.All()[0]
	require.NoError(t, got.SignatureErr)
	require.Equal(t, turn.MessageID+"-2", got.ID())
	require.Equal(t, "3", got.Header.Get("Parley-Attempt"))
	require.Equal(t, "rpl_1", got.Header.Get("Parley-Replay"))
	require.Equal(t, turn.Traceparent, got.Header.Get("Traceparent"))
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
}

// A bot knows the attempts at a turn by their id, and that nothing has changed
// by their bytes.
func TestAttemptsAreTheSame(t *testing.T) {
	b, r := scripted(t, webhooktest.Status(http.StatusInternalServerError))
	for attempt := range 5 {
		turn := aTurn()
		turn.Attempt = attempt + 1
		for i := range 20 { // in whatever order
			turn.Session.Variables["v"+string(rune('a'+(i*7)%20))] = map[string]any{"x": i, "a": "<&>"}
		}
		_, err := b.Respond(t.Context(), turn)
		require.Error(t, err)
	}
	later := aTurn()
	later.Counter++
	_, err := b.Respond(t.Context(), later)
	require.Error(t, err)
	all := r.All()
	for _, got := range all[:5] {
		require.Equal(t, all[0].Raw, got.Raw)
		require.Equal(t, all[0].ID(), got.ID())
	}
	require.NotEqual(t, all[0].ID(), all[5].ID(), "the same message, sent again when the conversation is further")
}

func TestNoMessages(t *testing.T) {
	for name, script := range map[string]webhooktest.Script{"204": webhooktest.Status(http.StatusNoContent), "nothing to say": says(`{"messages":null}`)} {
		t.Run(name, func(t *testing.T) {
			b, _ := scripted(t, script)
			turn := aTurn()
			answer, err := b.Respond(t.Context(), turn)
			require.NoError(t, err)
			require.Equal(t, &bot.Answer{Session: turn.Session}, answer)
		})
	}
}

func TestDialogstate(t *testing.T) {
	for name, c := range map[string]struct{ before, answer, after, sent string }{
		"set":              {``, `{"nextDialogstate":"a"}`, `"a"`, ""},
		"stay":             {`"a"`, `{}`, `"a"`, "a"},
		"none":             {`"a"`, `{"nextDialogstate":""}`, ``, "a"},
		"of another kind":  {`{"dialog":"menu"}`, `{"nextDialogstate":"a"}`, `"a"`, ""},
		"that stays there": {`{"dialog":"menu"}`, `{}`, `{"dialog":"menu"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, r := scripted(t, says(c.answer))
			turn := aTurn()
			turn.Session.Dialog = json.RawMessage(c.before)
			answer, err := b.Respond(t.Context(), turn)
			require.NoError(t, err)
			require.Equal(t, c.after, string(answer.Session.Dialog))
			var sent request
			require.NoError(t, json.Unmarshal(r.All()[0].Raw, &sent))
			require.Equal(t, c.sent, sent.Dialogstate)
		})
	}
}

func TestFailures(t *testing.T) {
	never := make(chan struct{})
	later := http.Header{"Retry-After": {"120"}}
	for name, c := range map[string]struct {
		reply webhooktest.Reply
		want  bot.FailedError // its reason is a part
	}{
		"500":             {webhooktest.Reply{Status: 500, Body: "oh no", Header: later}, bot.FailedError{Kind: "500", Reason: "HTTP 500 Internal Server Error", Status: 500, Excerpt: []byte("oh no")}},
		"404":             {webhooktest.Reply{Status: 404}, bot.FailedError{Kind: "404", Reason: "HTTP 404 Not Found", Status: 404}},
		"gone":            {webhooktest.Reply{Status: 410}, bot.FailedError{Kind: "410", Reason: "HTTP 410 Gone", Status: 410}},
		"redirect":        {webhooktest.Reply{Status: 307, Header: http.Header{"Location": {"/"}}}, bot.FailedError{Kind: "307", Reason: "redirects are not followed", Status: 307}},
		"throttled":       {webhooktest.Reply{Status: 429, Header: later}, bot.FailedError{Kind: "429", Reason: "HTTP 429", Status: 429, RetryAfter: 2 * time.Minute}},
		"for a week":      {webhooktest.Reply{Status: 503, Header: http.Header{"Retry-After": {"604800"}}}, bot.FailedError{Kind: "503", Reason: "HTTP 503", Status: 503, RetryAfter: time.Hour}},
		"accepted":        {webhooktest.Reply{Status: 202, Body: "{}"}, bot.FailedError{Kind: kindAnswer, Reason: "answer 200 with a JSON body, or 204", Status: 202, Excerpt: []byte("{}")}},
		"empty":           {webhooktest.Reply{}, bot.FailedError{Kind: kindAnswer, Reason: "the body is empty: send a JSON object", Status: 200}},
		"not JSON":        {webhooktest.Reply{Body: "hello"}, bot.FailedError{Kind: kindAnswer, Reason: "the body is not JSON", Status: 200, Excerpt: []byte("hello")}},
		"not the schema":  {webhooktest.Reply{Body: `{"messages":[{"text":""}]}`}, bot.FailedError{Kind: kindAnswer, Reason: "/messages/0: is empty", Status: 200, Excerpt: []byte(`{"messages":[{"text":""}]}`)}},
		"no such number":  {webhooktest.Reply{Body: `{"sessionData":{"a":1e999}}`}, bot.FailedError{Kind: kindAnswer, Reason: "/sessionData: ", Status: 200, Excerpt: []byte(`{"sessionData":{"a":1e999}}`)}},
		"reset":           {webhooktest.Reply{Fault: webhooktest.Reset}, bot.FailedError{Kind: "reset", Reason: "reset: "}},
		"cut off":         {webhooktest.Reply{Header: http.Header{"Content-Length": {"10"}}, Body: "{"}, bot.FailedError{Kind: kindAnswer, Reason: "the answer could not be read: reset", Status: 200, Excerpt: []byte("{")}},
		"no answer":       {webhooktest.Reply{Until: never}, bot.FailedError{Kind: "timeout", Reason: "timeout: no complete answer within 50ms"}},
		"far too much":    {webhooktest.Reply{Body: strings.Repeat(" ", MaxAnswer-1) + "{}"}, bot.FailedError{Kind: kindAnswer, Reason: "more than 262144 bytes", Status: 200, Excerpt: []byte(strings.Repeat(" ", webhook.MaxExcerpt))}},
		"many things bad": {webhooktest.Reply{Body: `{"messages":[{},{},{},{},{},{},{}]}`}, bot.FailedError{Kind: kindAnswer, Reason: "; and 2 more", Status: 200, Excerpt: []byte(`{"messages":[{},{},{},{},{},{},{}]}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			b, r := scripted(t, func(int, *webhooktest.Received) webhooktest.Reply { return c.reply })
			if c.reply.Until != nil {
				b.timeout = 50 * time.Millisecond
			}
			_, err := b.Respond(t.Context(), aTurn())
			var failed *bot.FailedError
			require.ErrorAs(t, err, &failed)
			require.Contains(t, failed.Reason, c.want.Reason)
			c.want.Reason = failed.Reason
			require.Equal(t, &c.want, failed)
			require.Len(t, r.All(), 1, "an attempt is one POST")
		})
	}
}

func TestAnswerAtTheBound(t *testing.T) {
	b, _ := scripted(t, says(strings.Repeat(" ", MaxAnswer-2)+"{}"))
	_, err := b.Respond(t.Context(), aTurn())
	require.NoError(t, err)
}

func TestTheGuardStandsBeforeTheBot(t *testing.T) {
	r := webhooktest.New(t)
	public, err := webhook.NewClient(webhook.Options{Guard: &webhook.Guard{AnyPort: true}})
	require.NoError(t, err)
	t.Cleanup(public.Close)
	b := made(t, public, nil, chat.Bot{URL: r.URL()}) // allowed when it was set, and not where it is dialled
	_, err = b.Respond(t.Context(), aTurn())
	require.ErrorContains(t, err, "guard: ")
	require.Empty(t, r.All())
}

func TestEndedByThisSide(t *testing.T) {
	never := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	b, _ := scripted(t, func(int, *webhooktest.Received) webhooktest.Reply {
		cancel()
		return webhooktest.Reply{Until: never}
	})
	_, err := b.Respond(ctx, aTurn())
	require.ErrorContains(t, err, "interrupted: ")
}

func TestRefusesWhatItCannotRead(t *testing.T) {
	b, r := scripted(t, says(`{}`))
	turn := aTurn()
	turn.Input = chat.Input{Kind: chat.InputActions, Body: json.RawMessage(`{"pauseBot":7}`)}
	_, err := b.Respond(t.Context(), turn)
	var refused *bot.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Empty(t, r.All())
}

func TestOptions(t *testing.T) {
	c, good := client(t), &chat.Bot{URL: "https://example.com"}
	for want, o := range map[string]Options{
		"is missing":           {Guard: loopback(), Config: good},
		"the guard or the ":    {Client: c, Config: good},
		"the configuration":    {Client: c, Guard: loopback()},
		"the URL: ":            {Client: c, Guard: &webhook.Guard{}, Config: &chat.Bot{URL: "http://127.0.0.1/"}},
		"the signing secrets:": {Client: c, Guard: loopback(), Config: &chat.Bot{URL: good.URL, Sending: chat.Sending{Secrets: []chat.Secret{"x"}}}},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

// A turn is posted as a message to an endpoint is: with the same signatures,
// also of a secret that retires, header fields and authentication.
func TestPostedAsToAnEndpoint(t *testing.T) {
	present, retiring := webhook.NewSecret(), webhook.NewSecret()
	logins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"t1","token_type":"Bearer"}`))
	}))
	t.Cleanup(logins.Close)
	for name, c := range map[string]struct {
		auth *chat.Auth
		want string
	}{
		"none":   {nil, ""},
		"basic":  {&chat.Auth{Kind: chat.AuthBasic, Username: "me", Password: "pass"}, "Basic bWU6cGFzcw=="},
		"bearer": {&chat.Auth{Kind: chat.AuthBearer, Token: "abc"}, "Bearer abc"},
		"oauth2": {&chat.Auth{Kind: chat.AuthOAuth2, TokenURL: logins.URL, ClientID: "id", ClientSecret: "s"}, "Bearer t1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := webhooktest.New(t, webhooktest.WithSecrets(retiring), webhooktest.WithScript(says(`{}`)))
			b := made(t, client(t), nil, chat.Bot{URL: r.URL(), Sending: chat.Sending{
				Secrets: []chat.Secret{present}, Retiring: []chat.Retiring{{Key: retiring, Until: time.Now().Add(time.Hour)}},
				Auth: c.auth, Headers: map[string]chat.Secret{"X-Team": "bots"},
			}})
			_, err := b.Respond(t.Context(), aTurn())
			require.NoError(t, err)
			got := r.All()[0]
			require.NoError(t, got.SignatureErr, "who still has the former secret can verify it")
			keys, err := webhook.ParseSecrets([]chat.Secret{present})
			require.NoError(t, err)
			require.NoError(t, webhook.Verify(keys, got.Header, got.Raw, time.Now(), 0))
			require.Equal(t, "bots", got.Header.Get("X-Team"))
			require.Equal(t, c.want, got.Header.Get("Authorization"))
		})
	}
}

// A bot's own connections outlive a change of something else, and no change of
// what they were opened with.
func TestClientCertificateAndTheFormer(t *testing.T) {
	servers, clients := webhooktest.NewAuthority(t), webhooktest.NewAuthority(t)
	cert, key := clients.Issue("parley")
	r := webhooktest.New(t, webhooktest.WithTLSConfig(servers.ServerConfig(clients)), webhooktest.WithScript(says(`{}`)))
	c, former := client(t), (*Bot)(nil)
	for _, tls := range []chat.TLS{
		{ClientCert: cert, ClientKey: chat.Secret(key), CA: servers.PEM()},
		{ClientCert: cert, ClientKey: chat.Secret(key), CA: servers.PEM()},
		{ClientCert: cert, ClientKey: chat.Secret(key), CA: servers.PEM() + clients.PEM()},
	} {
		former = made(t, c, former, chat.Bot{URL: r.URL(), Sending: chat.Sending{TLS: &tls}})
		_, err := former.Respond(t.Context(), aTurn())
		require.NoError(t, err)
	}
	all := r.All()
	require.Equal(t, all[0].Remote, all[1].Remote)
	require.NotEqual(t, all[1].Remote, all[2].Remote)
}
