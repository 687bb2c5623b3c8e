package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

// tokenServer is a token server without a network, so that its tests have their
// own clock.
type tokenServer struct {
	calls   atomic.Int32
	takes   time.Duration
	expires int // seconds; 0: not said
	status  atomic.Int32
	hangs   atomic.Bool
}

func (s *tokenServer) RoundTrip(r *http.Request) (*http.Response, error) {
	n := s.calls.Add(1)
	if s.hangs.Load() {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	select {
	case <-time.After(s.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	body, status := fmt.Sprintf(`{"access_token":"t%d","token_type":"bearer","expires_in":%d}`, n, s.expires), 200
	if code := int(s.status.Load()); code != 0 {
		body, status = `{"error":"invalid_client","error_description":"client_secret the-secret is wrong"}`, code
	}
	return &http.Response{
		StatusCode: status, Status: "999 the-secret", Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func oauthSettings() *chat.Auth {
	return &chat.Auth{Kind: chat.AuthOAuth2, TokenURL: "https://login.example.com/token", ClientID: "id", ClientSecret: "the-secret"}
}

func oauth(t *testing.T) *Auth {
	t.Helper()
	a, err := NewAuth(oauthSettings(), &Guard{})
	require.NoError(t, err)
	return a
}

func must(t *testing.T, a *Auth, s *tokenServer) string {
	t.Helper()
	value, err := a.value(t.Context(), s)
	require.NoError(t, err)
	return value
}

func TestTokenIsSharedAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := &tokenServer{takes: time.Second, expires: 3600}, oauth(t)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				value, err := a.value(t.Context(), s)
				if err != nil || value != "Bearer t1" {
					t.Error(value, err)
				}
			})
		}
		all.Wait()
		<-time.After(50 * time.Minute)
		require.Equal(t, "Bearer t1", must(t, a, s))
		require.EqualValues(t, 1, s.calls.Load())
	})
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := &tokenServer{takes: time.Second, expires: 3600}, oauth(t)
		require.Equal(t, "Bearer t1", must(t, a, s))
		<-time.After(59*time.Minute + time.Second)
		s.status.Store(500)
		require.Equal(t, "Bearer t1", must(t, a, s), "nobody waits for the renewal")
		<-time.After(1500 * time.Millisecond)
		require.Equal(t, "Bearer t1", must(t, a, s), "and while it fails the token serves on")
		require.EqualValues(t, 2, s.calls.Load())
		s.status.Store(0)
		<-time.After(time.Second)
		require.Equal(t, "Bearer t1", must(t, a, s))
		<-time.After(2 * time.Second)
		require.Equal(t, "Bearer t3", must(t, a, s))
		require.EqualValues(t, 3, s.calls.Load())

		<-time.After(time.Hour)
		require.Equal(t, "Bearer t4", must(t, a, s), "one that has ended is not sent")
	})
}

func TestTokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := &tokenServer{}, oauth(t)
		first := must(t, a, s)
		a.answered(first, 200)
		a.answered(first, 500)
		require.Equal(t, first, must(t, a, s))
		a.answered(first, 401) // revoked
		a.answered(first, 401) // by another attempt
		second := must(t, a, s)
		require.Equal(t, "Bearer t2", second)
		a.answered(first, 401) // an attempt that came late
		require.Equal(t, second, must(t, a, s))
		for range 10 { // the token isn't at fault
			a.answered(second, 401)
			require.Equal(t, second, must(t, a, s))
		}
		<-time.After(replaceEvery)
		a.answered(second, 401)
		third := must(t, a, s)
		require.Equal(t, "Bearer t3", third)
		a.answered(third, 204)
		a.answered(third, 401) // accepted before, so revoked
		require.Equal(t, "Bearer t4", must(t, a, s))
	})
}

func TestTokenServerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := &tokenServer{}, oauth(t)
		s.status.Store(401)
		for range 3 {
			_, err := a.value(t.Context(), s)
			require.Equal(t, KindAuth, KindOf(err))
			require.EqualError(t, err, "auth: the token server answered 401 Unauthorized (invalid_client)")
		}
		require.EqualValues(t, 1, s.calls.Load(), "it is left alone for a moment")
		s.status.Store(0)
		<-time.After(tokenPause)
		require.Equal(t, "Bearer t2", must(t, a, s))
	})
}

func TestTokenServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := &tokenServer{}, oauth(t)
		s.hangs.Store(true)
		// One attempt has little time and leaves; the other stays.
		short, cancel := context.WithTimeoutCause(t.Context(), time.Second, &attemptTimeout{time.Second})
		defer cancel()
		stays := make(chan error, 1)
		go func() {
			_, err := a.value(t.Context(), s)
			stays <- err
		}()
		_, err := a.value(short, s)
		require.EqualError(t, err, "auth: no token from the token server within the 1s of the attempt")
		require.Equal(t, KindAuth, KindOf(err))
		require.EqualError(t, <-stays, "auth: no answer from the token server within 10s")
		require.EqualValues(t, 1, s.calls.Load())

		// The last one that leaves ends the request; that is no failure of the server.
		<-time.After(tokenPause)
		handOver := errors.New("handed over")
		ended, end := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { end(handOver) })
		_, err = a.value(ended, s)
		require.ErrorIs(t, err, handOver)
		require.Empty(t, KindOf(err))
		s.hangs.Store(false)
		require.Equal(t, "Bearer t3", must(t, a, s))
	})
}

func TestTokenErrorsTellNothing(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":       "the-secret",
		"no token":      `{"x":"the-secret"}`,
		"a bad token":   `{"access_token":"the-secret\r\nX: y"}`,
		"a bad type":    `{"access_token":"a","token_type":"the-secret\nx"}`,
		"an odd error":  `{"error":"the-secret\n"}`,
		"never closing": `{"access_token":"the-secret`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := oauth(t).value(t.Context(), roundTripper(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
			}))
			require.Equal(t, KindAuth, KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), "the-secret")
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
