package ingest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/topology"
)

// Quota bounds what may wait; 0 is no bound.
type Quota struct {
	Messages uint64
	Bytes    uint64
}

func (q Quota) exceeded(w topology.Waiting) bool {
	return q.Messages > 0 && w.Messages >= q.Messages || q.Bytes > 0 && w.Bytes >= q.Bytes
}

const (
	// backlogEvery is how often the backlog is looked at while messages come.
	backlogEvery = time.Second
	// backlogShare bounds what that costs: a look that took long is followed by
	// a pause of so many times that.
	backlogShare = 10
	// backlogTimeout bounds one look.
	backlogTimeout = 10 * time.Second
	// backlogRetryAfter is what who meets a full channel is told to wait.
	backlogRetryAfter = 5 * time.Second
)

// BacklogOptions are what a Backlog is made of; all are required.
type BacklogOptions struct {
	Read     func(ctx context.Context) (*topology.Backlog, error)
	Channel  Quota // of each channel
	Endpoint Quota // of each endpoint
	Config   func() Config
	Log      *zap.Logger
}

// Backlog knows which channels have so much waiting that they may not add to
// it. It looks once a second at the channels that messages came for, and at
// none in detail while all of the backlog is below every quota: so a channel may
// exceed its quota by what comes within about a second.
type Backlog struct {
	BacklogOptions
	full atomic.Pointer[map[string]string] // channel → why

	mu   sync.Mutex
	came map[string]struct{} // channels since the last look
	down bool                // the last look failed
}

// NewBacklog makes a backlog; Run must follow.
func NewBacklog(o BacklogOptions) *Backlog {
	b := &Backlog{BacklogOptions: o, came: map[string]struct{}{}}
	b.full.Store(&map[string]string{})
	return b
}

// Run looks at the backlog until ctx ends.
func (b *Backlog) Run(ctx context.Context) error {
	timer := time.NewTimer(backlogEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		b.look(ctx)
		timer.Reset(max(backlogEvery, backlogShare*time.Since(began)))
	}
}

// why says why a channel may not add to what waits; empty when it may.
func (b *Backlog) why(channelID string) string {
	b.mu.Lock()
	b.came[channelID] = struct{}{}
	b.mu.Unlock()
	return (*b.full.Load())[channelID]
}

// look finds the full channels among those that messages came for. What can't
// be found out stays as it was.
func (b *Backlog) look(ctx context.Context) {
	b.mu.Lock()
	came := b.came
	b.came = make(map[string]struct{}, len(came))
	b.mu.Unlock()
	full := map[string]string{}
	var err error
	if len(came) > 0 {
		ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
		defer cancel()
		full, err = b.find(ctx, came)
	}
	if failed := err != nil; failed != b.down && ctx.Err() == nil {
		b.down = failed
		if failed {
			b.Log.Warn("the backlog can't be read; the quotas stand as they were last known", zap.Error(err))
		} else {
			b.Log.Info("the backlog can be read again")
		}
	}
	if err == nil {
		b.full.Store(&full)
	}
}

func (b *Backlog) find(ctx context.Context, channels map[string]struct{}) (map[string]string, error) {
	full := map[string]string{}
	backlog, err := b.Read(ctx)
	if err != nil {
		return nil, err
	}
	if all := backlog.Total(); !b.Channel.exceeded(all) && !b.Endpoint.exceeded(all) {
		return full, nil
	}
	config := b.Config()
	for channel := range channels {
		w, err := backlog.Channel(ctx, channel)
		if err != nil {
			return nil, err
		}
		if b.Channel.exceeded(w) {
			full[channel] = tooMuch("the channel", w, b.Channel)
			continue
		}
		for _, e := range config.EndpointsOf(channel) {
			w, err := backlog.Endpoint(ctx, e.ID)
			if err != nil {
				return nil, err
			}
			if b.Endpoint.exceeded(w) {
				full[channel] = tooMuch("the channel's endpoint "+e.ID, w, b.Endpoint)
				break
			}
		}
	}
	return full, nil
}

func tooMuch(whose string, w topology.Waiting, q Quota) string {
	limit := ""
	if q.Messages > 0 {
		limit += fmt.Sprintf(" %d messages", q.Messages)
	}
	if q.Bytes > 0 {
		limit += fmt.Sprintf(" %d bytes", q.Bytes)
	}
	return fmt.Sprintf("%s has %d messages (about %d bytes) waiting, and its quota is%s", whose, w.Messages, w.Bytes, limit)
}

// withinQuota refuses what a channel may not add to its backlog.
func (s *Service) withinQuota(channelID string) error {
	if s.deps.Backlog == nil {
		return nil
	}
	why := s.deps.Backlog.why(channelID)
	if why == "" {
		return nil
	}
	p := problem.New(http.StatusServiceUnavailable, slugBacklog,
		why+": nothing was stored, send it again after the time in Retry-After")
	p.RetryAfter = backlogRetryAfter
	return p
}
