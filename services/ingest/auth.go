package ingest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

// bearer returns the token that a request carries (RFC 6750, in the header only).
func bearer(r *http.Request) (string, error) {
	scheme, clear, ok := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		p := problem.New(http.StatusUnauthorized, slugUnauthorized, "send the channel's access token: Authorization: Bearer <token>")
		p.Challenge = `Bearer realm="parley"`
		return "", p
	}
	return strings.TrimSpace(clear), nil
}

func authenticate(cfg Config, clear string) (chat.Token, error) {
	token, ok := cfg.Authenticate(clear)
	if !ok {
		p := problem.New(http.StatusUnauthorized, slugUnauthorized, "the access token is unknown or was revoked: make a new one for the channel")
		p.Challenge = `Bearer realm="parley", error="invalid_token"`
		return chat.Token{}, p
	}
	return token, nil
}

// authorize lets a channel's own token through. Only who has some valid token
// learns whether a channel exists.
func authorize(cfg Config, clear, channelID string) (chat.Token, error) {
	token, err := authenticate(cfg, clear)
	if err != nil {
		return token, err
	}
	if _, ok := cfg.Channel(channelID); !ok {
		return token, problem.New(http.StatusNotFound, slugUnknownChannel, "there is no channel of this id: check the URL, or create the channel")
	}
	return token, opens(token, channelID)
}

// confirmTimeout bounds the wait for the newest configuration.
const confirmTimeout = time.Second

// judged returns the configuration under which a request is let in. What the
// snapshot refuses is judged again by what the leader has: a token may have been
// made by another process a moment ago.
func (s *Service) judged(ctx context.Context, judge func(Config) error) (Config, error) {
	cfg := s.deps.Config()
	refused := judge(cfg)
	if refused == nil {
		return cfg, nil
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	newest, err := s.deps.CatchUp(ctx)
	if err != nil {
		p := problem.New(http.StatusServiceUnavailable, slugUnavailable,
			"the configuration could not be asked for, so the request could not be judged: send it again after the time in Retry-After")
		p.RetryAfter, p.Cause = time.Second, err
		return nil, p
	}
	if newest.Revision() == cfg.Revision() {
		return nil, refused
	}
	return newest, judge(newest)
}

func opens(token chat.Token, channelID string) error {
	if token.ChannelID == channelID && channelID != "" {
		return nil
	}
	return forbidden()
}

func forbidden() error {
	return problem.New(http.StatusForbidden, slugForbidden, "the access token does not belong to this channel: use one that was made for it")
}

// channelByVerifyToken finds the one channel of the bot that has an endpoint
// with the verify token. An unknown bot and a wrong token look the same.
func channelByVerifyToken(cfg Config, botID string, given chat.Secret) (string, error) {
	var found []string
	want := sha256.Sum256([]byte(given.Reveal()))
	for _, channel := range cfg.ChannelsOfBot(botID) {
		match := 0
		for _, e := range cfg.EndpointsOf(channel.ID) {
			have := sha256.Sum256([]byte(e.VerifyToken.Reveal()))
			match |= subtle.ConstantTimeCompare(have[:], want[:])
		}
		if match == 1 {
			found = append(found, channel.ID)
		}
	}
	switch {
	case given == "" || len(found) == 0:
		return "", problem.New(http.StatusForbidden, slugForbidden,
			"verifyToken is not that of an endpoint of this bot: send the verify token of the channel's endpoint")
	case len(found) > 1:
		return "", problem.New(http.StatusUnprocessableEntity, slugAmbiguousChannel,
			"endpoints of several channels of this bot have this verify token: give each channel its own, or use the v1 form")
	}
	return found[0], nil
}
