package ingest

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
)

// eventReceived is the legacy form's answer.
const eventReceived = "EVENT_RECEIVED"

// legacy takes a message in the legacy form, whose body carries the verify
// token. The token is judged before the rest of the body is.
func (s *Service) legacy(c echo.Context) error {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil {
		return err
	}
	body, err := readBody(c, contentJSON, s.opts.MaxBody)
	if err != nil {
		return err
	}
	in, verifyToken, invalid := chat.DecodeLegacy(body)
	if invalid != nil && !isJSON(body) {
		return notDecoded(body, invalid)
	}
	botID, channelID := param(c, "botId"), ""
	cfg, err := s.judged(c.Request().Context(), func(cfg Config) (err error) {
		channelID, err = channelByVerifyToken(cfg, botID, verifyToken)
		return err
	})
	if err != nil {
		return err
	}
	if invalid != nil {
		return invalid
	}
	limits := s.limitsOf(cfg, channelID, nil)
	_, err = s.accept(c.Request().Context(), &submission{
		form: formLegacy, limits: limits, channelID: channelID, in: in, revision: cfg.Revision(),
		trace: s.traceOf(c),
		key:   key, hash: requestHash(key, formLegacy, body, botID),
	})
	limits.describe(c.Response().Header(), false)
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, eventReceived)
}
