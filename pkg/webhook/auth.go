package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/parleyhq/parley/pkg/chat"
)

// Auth gives attempts their Authorization field. It is shared by all attempts
// at an endpoint and prints as "[redacted]".
type Auth struct {
	fixed  string  // basic and bearer
	tokens *tokens // oauth2
}

// NewAuth makes it of an endpoint's settings; nil for none. The token server's
// URL must pass the guard as an endpoint's does.
func NewAuth(a *chat.Auth, g *Guard) (*Auth, error) {
	if a == nil {
		return nil, nil
	}
	switch a.Kind {
	case chat.AuthBasic:
		pair := a.Username + ":" + a.Password.Reveal()
		return &Auth{fixed: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}, nil
	case chat.AuthBearer:
		return &Auth{fixed: "Bearer " + a.Token.Reveal()}, nil
	case chat.AuthOAuth2:
		if err := g.CheckURL(a.TokenURL); err != nil {
			return nil, fmt.Errorf("the token server's URL: %w", err)
		}
		return &Auth{tokens: newTokens(a)}, nil
	}
	return nil, fmt.Errorf("%q is no kind of authentication", a.Kind)
}

// String returns "[redacted]".
func (*Auth) String() string { return "[redacted]" }

// GoString returns "[redacted]".
func (*Auth) GoString() string { return "[redacted]" }

// authorization returns the Authorization field, "" where there is none.
func (r *Request) authorization(ctx context.Context, c *Client) (string, error) {
	if r.Auth == nil {
		return "", nil
	}
	return r.Auth.value(ctx, c.transportOf(r))
}

// value returns the Authorization field. A token that has to be asked for is
// asked for over the transport that the attempt itself takes, so behind the
// same guard. Its error is a *Failure of KindAuth, or the cause of ctx where
// that ends from outside.
func (a *Auth) value(ctx context.Context, rt http.RoundTripper) (string, error) {
	if a.tokens == nil {
		return a.fixed, nil
	}
	return a.tokens.value(ctx, rt)
}

// answered tells what an endpoint answered to a value.
func (a *Auth) answered(value string, status int) {
	if a != nil && a.tokens != nil {
		a.tokens.answered(value, status)
	}
}

// tokenTimeout bounds a request for a token, whatever the attempts that wait
// for it may take.
const tokenTimeout = 10 * time.Second

func credentials(a *chat.Auth) clientcredentials.Config {
	c := clientcredentials.Config{
		ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), TokenURL: a.TokenURL, Scopes: a.Scopes,
		AuthStyle: oauth2.AuthStyleInHeader, // not found out by trying: each try counts as a failed login
	}
	if a.InBody {
		c.AuthStyle = oauth2.AuthStyleInParams
	}
	if a.Audience != "" {
		c.EndpointParams = url.Values{"audience": {a.Audience}}
	}
	return c
}

// fetchToken asks the token server.
func fetchToken(ctx context.Context, config *clientcredentials.Config, rt http.RoundTripper) (*oauth2.Token, error) {
	client := &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err == nil && strings.ContainsFunc(token.Type()+token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		err = errors.New("not a header's value")
	}
	if err != nil {
		return nil, &Failure{KindAuth, tokenError(ctx, err)}
	}
	return token, nil
}

// tokenError says why there is no token, with nothing of what the server wrote
// but its error code: it may repeat what it was sent.
func tokenError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		text := "the token server answered " + strings.TrimSpace(fmt.Sprintf("%d %s", answer.Response.StatusCode, http.StatusText(answer.Response.StatusCode)))
		if code := answer.ErrorCode; errorCode(code) {
			text += " (" + code + ")"
		}
		return errors.New(text)
	}
	broken, ok := errors.AsType[*url.Error](err)
	if !ok {
		return errors.New("the token server's answer holds no token that can be used")
	}
	for _, known := range []func(error) *Failure{guardFailure, dnsFailure, tlsFailure, timeoutFailure, networkFailure} {
		if f := known(broken.Err); f != nil {
			return fmt.Errorf("no answer from the token server: %w", f)
		}
	}
	return fmt.Errorf("no answer from the token server: %w", broken.Err)
}

// errorCode reports whether a text is fit to be shown as RFC 6749's error code.
func errorCode(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}
