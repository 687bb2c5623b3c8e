package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/httpserver"
	"github.com/parleyhq/parley/pkg/problem"
)

// Service is the ingest service.
type Service struct {
	opts    Options
	deps    Deps
	metrics *metrics
	echo    *echo.Echo
	srv     *httpserver.Server

	batches  chan struct{} // a slot a batch under way
	onceDown atomic.Bool   // as the log last said
	refusals seldom        // when the log last told of 503s
}

// New makes the service and binds its address; Run must follow.
func New(o Options, d Deps) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	d, err := d.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{opts: o.withDefaults(), deps: d, metrics: newMetrics(d.Metrics)}
	s.batches = make(chan struct{}, s.opts.MaxBatches)
	s.echo = s.routes()
	s.srv, err = httpserver.New(httpserver.Options{
		Addr:         o.Addr,
		ReadTimeout:  30 * time.Second,
		WriteTimeout: 30*time.Second + s.opts.BatchTimeout + s.opts.RepeatWait + s.opts.PublishTimeout,
	}, s.echo, d.Log.Named("ingest"))
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return s, nil
}

// Addr returns the address that is bound.
func (s *Service) Addr() string { return s.srv.Addr() }

// Run serves until the context ends; requests under way are finished.
func (s *Service) Run(ctx context.Context) error { return s.srv.Run(ctx) }

func (s *Service) routes() *echo.Echo {
	e := httpserver.NewEcho(s.deps.Log.Named("ingest"))
	limit := httpserver.Limit(s.opts.MaxRequests, nil)
	recovered := problem.Recover(s.deps.Log) // inside observe, so that panics are counted
	route := func(path string, f form, h echo.HandlerFunc) {
		e.POST(path, h, s.observe(f), recovered, limit)
	}
	route("/v1/channels/webhook/:channelId/messages", formMessage, s.messages)
	route("/v1/bots/:botId/conversations/:conversationId/actions", formActions, s.actions)
	route("/api/webhookMessage/:botId", formLegacy, s.legacy)
	few := httpserver.Limit(maxReads, nil)
	read := func(path string, f form, h echo.HandlerFunc) {
		e.GET(path, h, s.observe(f), recovered, limit, few)
	}
	if s.deps.Journal != nil {
		read("/api/bots/:botId/history/:senderId", formHistory, s.history)
	}
	if s.deps.Sessions != nil {
		read("/api/sessionData/:botId/:senderId/:namespace", formSession, s.sessionData)
	}
	return e
}

// messages takes one message or, by content type, a batch.
func (s *Service) messages(c echo.Context) error {
	channelID := param(c, "channelId")
	clear, err := bearer(c.Request())
	if err != nil {
		return err
	}
	var token chat.Token
	cfg, err := s.judged(c.Request().Context(), func(cfg Config) (err error) {
		token, err = authorize(cfg, clear, channelID)
		return err
	})
	if err != nil {
		return err
	}
	if isBatch(c.Request()) {
		return s.batch(c, cfg, channelID, &token)
	}
	return s.message(c, cfg, channelID, &token)
}

func isBatch(r *http.Request) bool {
	return strings.HasPrefix(strings.ToLower(r.Header.Get(echo.HeaderContentType)), contentNDJSON)
}

// observe counts and times a form's requests.
func (s *Service) observe(f form) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			f := f
			if f == formMessage && isBatch(c.Request()) {
				f = formBatch
			}
			s.metrics.inFlight.Inc()
			defer s.metrics.inFlight.Dec()
			start := s.deps.Now()
			span := s.serving(c)
			err := next(c)
			served(c, span, err)
			s.metrics.seconds[f].Observe(s.deps.Now().Sub(start).Seconds())
			if err != nil {
				s.metrics.refuse(f, problem.From(err).Slug())
			}
			return err
		}
	}
}

// accepted is the answer to a message that is stored.
type accepted struct {
	MessageID      string
	ConversationID string
}

func answer(c echo.Context, a accepted) error {
	body := append(make([]byte, 0, 256), '{')
	return c.JSONBlob(http.StatusAccepted, a.appendMembers(body))
}

// appendMembers appends the answer's members, the object's end and a line break.
func (a accepted) appendMembers(b []byte) []byte {
	b = append(b, `"messageId":"`...)
	b = append(b, a.MessageID...) // of letters, digits and _
	b = append(b, `","conversationId":`...)
	b = appendJSON(b, a.ConversationID)
	return append(b, "}\n"...)
}

// appendJSON appends a string as encoding/json does.
func appendJSON(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string has a JSON form
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
