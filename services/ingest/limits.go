package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/problem"
	"github.com/parleyhq/parley/pkg/ratelimit"
)

// Limits are the rates at which messages are taken, where a channel or a token
// has none of its own; a zero rate is no limit.
type Limits struct {
	Token        chat.Rate // of each access token
	Channel      chat.Rate // of each channel
	Conversation chat.Rate // of each conversation
}

// Limiter gives out what rates allow; *ratelimit.Limiter is one.
type Limiter interface {
	Take(name string, rate chat.Rate, n int) ratelimit.Decision
	GiveBack(name string, rate chat.Rate, n int)
}

// The fields of draft-ietf-httpapi-ratelimit-headers-09 (March 2025).
const (
	headerRateLimit       = "RateLimit"
	headerRateLimitPolicy = "RateLimit-Policy"
)

// limit is one that a request's messages fall under, and what was said last.
type limit struct {
	policy string // its name in the header fields
	of     string // whose it is; empty: the conversation's
	rate   chat.Rate
	last   ratelimit.Decision
	asked  bool
}

// limits are those of one request, the narrowest first. Lines of a batch ask
// side by side.
type limits struct {
	mu  sync.Mutex
	all []limit
}

// limitsOf returns the limits of a request, nil where it has none.
func (s *Service) limitsOf(cfg Config, channelID string, token *chat.Token) *limits {
	if s.deps.Limiter == nil {
		return nil
	}
	conversation, channel, access := s.opts.Limits.Conversation, s.opts.Limits.Channel, s.opts.Limits.Token
	if c, ok := cfg.Channel(channelID); ok {
		conversation, channel = own(c.ConversationLimit, conversation), own(c.Limit, channel)
	}
	var l *limits
	add := func(policy, of string, rate chat.Rate) {
		if !rate.Limits() {
			return
		}
		if l == nil {
			l = &limits{}
		}
		l.all = append(l.all, limit{policy: policy, of: of, rate: rate})
	}
	add("conversation", "", conversation)
	add("channel", "channel:"+channelID, channel)
	if token != nil {
		add("token", "token:"+token.ID, own(token.Limit, access))
	}
	return l
}

// own is a rate of its own, or else the general one.
func own(of *chat.Rate, general chat.Rate) chat.Rate {
	if of != nil {
		return *of
	}
	return general
}

// withinLimits takes a token of each limit; where one has none left, the others
// get theirs back.
func (s *Service) withinLimits(l *limits, conversation chat.ConversationKey) error {
	if l == nil {
		return nil
	}
	name := func(i int) string {
		if l.all[i].of == "" {
			return "conversation:" + conversation.String()
		}
		return l.all[i].of
	}
	for i := range l.all {
		d := s.deps.Limiter.Take(name(i), l.all[i].rate, 1)
		l.note(i, d)
		if d.Granted == 1 {
			continue
		}
		for before := range i {
			s.deps.Limiter.GiveBack(name(before), l.all[before].rate, 1)
		}
		p := problem.New(http.StatusTooManyRequests, slugRateLimited, fmt.Sprintf(
			"the %s sends more than %s and this message was not stored: send it again after the time in Retry-After", l.all[i].policy, l.all[i].rate))
		p.RetryAfter = max(d.Wait, time.Millisecond)
		return p
	}
	return nil
}

func (l *limits) note(i int, d ratelimit.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all[i].last, l.all[i].asked = d, true
}

// describe sets the header fields. For a batch, which may have many
// conversations, theirs is left out.
func (l *limits) describe(h http.Header, batch bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var policies, now []string
	for _, limit := range l.all {
		if batch && limit.of == "" {
			continue
		}
		r := limit.rate
		policies = append(policies, fmt.Sprintf("%q;q=%d;w=%d", limit.policy, r.Burst, seconds(r.Interval()*time.Duration(r.Burst))))
		if limit.asked {
			now = append(now, fmt.Sprintf("%q;r=%d;t=%d", limit.policy, max(0, limit.last.Remaining), seconds(limit.last.Reset)))
		}
	}
	if len(policies) > 0 {
		h.Set(headerRateLimitPolicy, strings.Join(policies, ", "))
	}
	if len(now) > 0 {
		h.Set(headerRateLimit, strings.Join(now, ", "))
	}
}

// seconds are whole ones, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
