package ops

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/webhook"
)

// Root is the path that the API stands under.
const Root = "/ops/v1"

// minBootstrap is the least length of a bootstrap token, in characters.
const minBootstrap = 16

// Options configure the service.
type Options struct {
	// BootstrapToken opens the API besides the tokens of the registry; empty:
	// only those do.
	BootstrapToken chat.Secret
	// CommandWait is how long a command to lanes waits for their owners before it
	// is answered as queued; 0 means 3 s.
	CommandWait time.Duration
}

// Validate reports the first setting that can't work.
func (o Options) Validate() error {
	if n := len(o.BootstrapToken); n > 0 && n < minBootstrap {
		return fmt.Errorf("the ops token has %d characters: give it at least %d random ones", n, minBootstrap)
	}
	if o.CommandWait < 0 {
		return errors.New("the time that a command waits is negative: set it above 0, or to 0 for its default")
	}
	return nil
}

// DeadLetters reads what the pipeline gave up on; a *deadletter.Store does.
type DeadLetters interface {
	List(ctx context.Context, f deadletter.Filter, p deadletter.Page) (deadletter.Listing, error)
	Count(ctx context.Context, f deadletter.Filter) (uint64, error)
	// Get returns a message's dead letters, one for each destination that it
	// was given up at, or an error that wraps deadletter.ErrNotFound.
	Get(ctx context.Context, messageID string) ([]deadletter.Letter, error)
}

// Lanes reads which lanes are parked, and takes commands to their owners; a
// *lane.Waiting does, and says which errors there are.
type Lanes interface {
	List(ctx context.Context, f lane.Filter, after string, limit int) (lanes []lane.Parked, next string, err error)
	Get(ctx context.Context, stage chat.Stage, id lane.ID) (*lane.Parked, error)
	Command(ctx context.Context, stage chat.Stage, id lane.ID, action lane.Action, by string, wait time.Duration) (lane.Commanded, error)
	CommandAll(ctx context.Context, f lane.Filter, action lane.Action, by string, wait time.Duration) (lane.Commanded, error)
	// Find returns the messages of a conversation that wait, parked or not; all is
	// false where so many do that not each was looked at.
	Find(ctx context.Context, key chat.ConversationKey, wanted func(*chat.UserMessage, *chat.BotMessage) bool) (found []lane.Found, all bool, err error)
	// Held counts a stage's lanes that wait for an operator; all is false where
	// there were too many to look at.
	Held(ctx context.Context, stage chat.Stage) (held uint64, all bool, err error)
}

// Journal reads turns and attempts; a *journal.Reader does.
type Journal interface {
	Attempts(ctx context.Context, f journal.Filter, p journal.Page) (journal.Listing, error)
	Turns(ctx context.Context, f journal.Filter, p journal.Page) (journal.Listing, error)
	Scan(ctx context.Context, f journal.Filter, since, until time.Time, from uint64, visit func(journal.Entry) error) error
}

// HealthCheck is one part that the pipeline needs.
type HealthCheck struct {
	Name  string
	Check func(ctx context.Context) error
}

// Deps are what the service reads and writes.
type Deps struct {
	Registry    *registry.Registry
	DeadLetters DeadLetters
	// Status reads what waits in the streams.
	Status func(ctx context.Context) (*topology.Status, error)
	// Backlog asks how much waits, and is quicker than Status.
	Backlog func(ctx context.Context) (*topology.Backlog, error)
	Lanes   Lanes
	// Parked counts the messages that wait for an endpoint after a failed attempt.
	Parked func(ctx context.Context, endpointID string) (uint64, error)
	Eraser Eraser
	// Replays are jobs on dead letters.
	Replays Replays
	// Journal is what was recorded, Recording what this process is told to record,
	// which may be another setting than that of others.
	Journal   Journal
	Recording journal.Mode
	// Owners reads who works on a stage.
	Owners func(ctx context.Context, stage chat.Stage) (*partition.Owners, error)
	// Ages asks a stage's workers, of whom there are so many, what waits there.
	Ages func(ctx context.Context, stage chat.Stage, workers int) (*lane.Report, error)
	// Client and Guard send test messages, as the delivery workers' do.
	Client *webhook.Client
	Guard  *webhook.Guard
	// Circuits is how destinations do; nil: that is not known.
	Circuits Circuits
	// Audit keeps what is changed here.
	Audit Audit
	// Health is what status reports beside; may be nil.
	Health []HealthCheck
	// Log is told what operators do to lanes; nil: nothing is logged.
	Log *zap.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service is the API.
type Service struct {
	Deps
	commandWait time.Duration
	bootstrap   [sha256.Size]byte
	opened      bool // a bootstrap token is set
}

// New makes the service; Mount puts it on a server.
func New(o Options, d Deps) (*Service, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if d.Registry == nil || d.DeadLetters == nil || d.Status == nil || d.Backlog == nil || d.Owners == nil || d.Ages == nil || d.Lanes == nil || d.Replays == nil || d.Journal == nil || d.Client == nil || d.Guard == nil || d.Audit == nil {
		return nil, errors.New("ops needs a registry, dead letters, a status, a backlog, owners, ages, lanes, replays, a journal, a client, a guard and an audit")
	}
	if d.Eraser == nil || d.Parked == nil {
		return nil, errors.New("ops needs an eraser and a count of what is parked")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Log == nil {
		d.Log = zap.NewNop()
	}
	return &Service{
		Deps: d, opened: o.BootstrapToken != "",
		commandWait: cmp.Or(o.CommandWait, defaultCommandWait),
		bootstrap:   sha256.Sum256([]byte(o.BootstrapToken.Reveal())),
	}, nil
}

// Mount adds the routes to a server whose error handler is problem.Handler.
func (s *Service) Mount(e *echo.Echo) {
	g := e.Group(Root, s.authorize, s.audit)

	g.GET("/channels", s.listChannels)
	g.POST("/channels", s.createChannel)
	g.GET("/channels/:id", s.getChannel)
	g.PUT("/channels/:id", s.putChannel)
	g.DELETE("/channels/:id", s.deleteChannel)
	g.POST("/channels/:id/pause", s.pauseChannel)
	g.POST("/channels/:id/resume", s.resumeChannel)
	g.GET("/channels/:id/endpoints", s.listEndpointsOf)
	g.POST("/channels/:id/endpoints", s.createEndpoint)

	g.GET("/endpoints", s.listEndpoints)
	g.GET("/endpoints/:id", s.getEndpoint)
	g.PUT("/endpoints/:id", s.putEndpoint)
	g.DELETE("/endpoints/:id", s.deleteEndpoint)
	g.POST("/endpoints/:id/disable", s.disableEndpoint)
	g.POST("/endpoints/:id/enable", s.enableEndpoint)
	g.POST("/endpoints/:id/rotate-secret", s.rotateEndpoint)
	g.POST("/endpoints/:id/test", s.testEndpoint)
	g.POST("/endpoints/:id/pause", s.pauseEndpoint)
	g.POST("/endpoints/:id/resume", s.resumeEndpoint)

	g.GET("/bots", s.listBots)
	g.POST("/bots", s.createBot)
	g.GET("/bots/:id", s.getBot)
	g.PUT("/bots/:id", s.putBot)
	g.DELETE("/bots/:id", s.deleteBot)
	g.POST("/bots/:id/pause", s.pauseBot)
	g.POST("/bots/:id/resume", s.resumeBot)
	g.POST("/bots/:id/rotate-secret", s.rotateBot)

	g.GET("/tokens", s.listTokens)
	g.POST("/tokens", s.createToken)
	g.DELETE("/tokens/:id", s.deleteToken)

	g.GET("/lanes", s.listLanes)
	g.GET("/lanes/:id", s.getLane)
	for _, action := range []lane.Action{lane.RetryNow, lane.Skip, lane.Discard} {
		g.POST("/lanes/:id/"+string(action), s.commandLane(action))
		g.POST("/endpoints/:id/lanes/"+string(action), s.commandLanes(action))
	}

	g.POST("/apply", s.apply)

	g.DELETE("/conversations", s.eraseConversation)

	g.GET("/replays", s.listReplays)
	g.POST("/replays", s.createReplay)
	g.GET("/replays/:id", s.getReplay)
	g.POST("/replays/:id/pause", s.pauseReplay)
	g.POST("/replays/:id/resume", s.resumeReplay)
	g.POST("/replays/:id/cancel", s.cancelReplay)

	g.GET("/status", s.status)
	g.GET("/lag", s.lag)
	g.GET("/dead-letters", s.listDead)
	g.GET("/dead-letters/count", s.countDead)
	g.GET("/dead-letters/:id", s.getDead)
	g.GET("/audit", s.listAudit)

	g.GET("/attempts", s.listAttempts)
	g.GET("/messages/:id/trace", s.traceMessage)
	g.GET("/conversations", s.showConversation)
}

// authorize lets a request pass that carries the bootstrap token or an ops
// token of the registry.
func (s *Service) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		scheme, given, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "bearer") || given == "" {
			return unauthorized("send an ops token in the header: Authorization: Bearer <token>")
		}
		sum := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(sum[:], s.bootstrap[:]) == 1 && s.opened {
			c.Set(callerKey, "the bootstrap token")
			return next(c)
		}
		token, ok := s.Registry.Snapshot().Authenticate(given)
		if !ok {
			return unauthorized("the token is not known here: check that it is complete and was not deleted")
		}
		if !token.Ops {
			return problem.New(http.StatusForbidden, "forbidden",
				"the token opens a channel and not the ops API: use one made with `parley token create --ops`")
		}
		c.Set(callerKey, cmp.Or(token.Name, token.ID))
		c.Set(callerIDKey, token.ID)
		return next(c)
	}
}

// Where a request's context has the name of its token, and its id, which the
// bootstrap token has not.
const (
	callerKey   = "caller"
	callerIDKey = "callerID"
)

func caller(c echo.Context) string {
	name, _ := c.Get(callerKey).(string)
	return name
}

func callerID(c echo.Context) string {
	id, _ := c.Get(callerIDKey).(string)
	return id
}

func unauthorized(detail string) error {
	p := problem.New(http.StatusUnauthorized, "unauthorized", detail)
	p.Challenge = `Bearer realm="parley-ops"`
	return p
}
