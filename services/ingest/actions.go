package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
)

// actions takes actions on a conversation from outside; they enter the same
// order as its user messages.
func (s *Service) actions(c echo.Context) error {
	r := c.Request()
	botID, conversationID := param(c, "botId"), param(c, "conversationId")
	clear, err := bearer(r)
	if err != nil {
		return err
	}
	var token chat.Token
	var channels []*chat.Channel
	cfg, err := s.judged(r.Context(), func(cfg Config) (err error) {
		token, channels, err = authorizeForBot(cfg, clear, botID)
		return err
	})
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	if err := checkConversationID(conversationID); err != nil {
		return err
	}
	body, err := readBody(c, contentJSON, s.opts.MaxBody)
	if err != nil {
		return err
	}
	act, named, err := chat.DecodeActions(body)
	if err != nil {
		return notDecoded(body, err)
	}
	if err := checkChannel(token, named, channels); err != nil {
		return err
	}
	encoded, err := json.Marshal(act)
	if err != nil {
		return fmt.Errorf("encoding actions: %w", err)
	}
	limits := s.limitsOf(cfg, token.ChannelID, &token)
	a, err := s.accept(r.Context(), &submission{
		form: formActions, limits: limits, channelID: token.ChannelID, revision: cfg.Revision(),
		in:    &chat.Incoming{ConversationID: conversationID, Input: chat.Input{Kind: chat.InputActions, Body: encoded}, ExpireAfter: act.ExpireAfter, Supersede: act.Supersede},
		trace: s.traceOf(c),
		key:   key, hash: requestHash(key, formActions, body, botID, conversationID),
	})
	limits.describe(c.Response().Header(), false)
	if err != nil {
		return err
	}
	return answer(c, a)
}

// authorizeForBot lets the tokens of a bot's channels through.
func authorizeForBot(cfg Config, clear, botID string) (token chat.Token, channels []*chat.Channel, err error) {
	if token, err = authenticate(cfg, clear); err != nil {
		return token, nil, err
	}
	if _, ok := cfg.Bot(botID); !ok {
		return token, nil, problem.New(http.StatusNotFound, slugUnknownBot, "there is no bot of this id: check the URL, or create the bot")
	}
	channels = cfg.ChannelsOfBot(botID)
	if !slices.ContainsFunc(channels, func(ch *chat.Channel) bool { return ch.ID == token.ChannelID }) {
		return token, nil, forbidden()
	}
	return token, channels, nil
}

// checkChannel checks the channel that the body names, which it may leave out
// only where the bot serves one.
func checkChannel(token chat.Token, named string, channels []*chat.Channel) error {
	switch {
	case named == "" && len(channels) > 1:
		p := problem.New(http.StatusUnprocessableEntity, slugChannelRequired, "the bot serves several channels: name the conversation's")
		p.Errors = []chat.Problem{{Pointer: "/channel", Detail: "is missing: send the channel's id"}}
		return p
	case named == "":
		return nil
	}
	return opens(token, named)
}

func checkConversationID(id string) error {
	n := utf8.RuneCountInString(id)
	bad := !utf8.ValidString(id) || n < 1 || n > chat.MaxConversationID
	for _, r := range id {
		bad = bad || unicode.IsControl(r) || r == utf8.RuneError
	}
	if !bad {
		return nil
	}
	var p chat.Problems
	p.Add("", fmt.Sprintf("the conversation's id in the path must have 1 to %d characters, none of them a control character", chat.MaxConversationID))
	return p.Err()
}
