package ops

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/webhook"
)

const (
	// testConversation is the senderId of test messages.
	testConversation = "parley-test"
	testMessage      = `{"text":"This is a test message from Parley."}`
	// maxTestTime bounds a test below what the API's clients wait.
	maxTestTime = 20 * time.Second
)

// testEndpoint makes one attempt with a test message, past streams, lanes and
// counters; also at one that is disabled or paused, which one wants to test
// before it is let in again. Whatever is answered changes nothing.
func (s *Service) testEndpoint(c echo.Context) error {
	ctx := c.Request().Context()
	snap, err := s.Registry.CatchUp(ctx)
	if err != nil {
		return refusal(err)
	}
	e, ok := snap.Endpoint(c.Param("id"))
	if !ok {
		return missing(registry.KindEndpoint, c.Param("id"))
	}
	now := s.Now()
	out := TestResult{MessageID: chat.BotMessageID(now, chat.KeyOf(e.ChannelID, testConversation), rand.Text(), 0)}
	target, err := webhook.NewTarget(e, s.Guard, nil)
	if err != nil {
		out.Error = err.Error() // allowed when it was set, and not here
		return noStore(c, out)
	}
	defer target.Close()
	r := target.Request()
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(webhook.HeaderEvent, chat.EventEndpointTest)
	r.Body = webhook.RenderBody(testConversation, e.VerifyToken, []byte(testMessage), 1, nil)
	r.MessageID, r.Attempt = out.MessageID, 1
	r.Timeout = min(cmp.Or(e.Timeout.Std(), webhook.DefaultTimeout), maxTestTime)
	result := s.Client.Do(ctx, r)
	a := result.Attempt()
	out.Delivered = a.Status/100 == 2
	out.Status, out.DurationMS, out.Error = a.Status, a.Duration.Milliseconds(), a.Error
	out.Excerpt = strings.ToValidUTF8(string(a.Excerpt), "\uFFFD")
	return noStore(c, out)
}

func noStore(c echo.Context, v any) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, v)
}
