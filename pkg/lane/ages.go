package lane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/topology"
)

// Age is how old what a group has waiting at some workers is, in their hands or
// parked; a group is a channel at the user stage, an endpoint at the bot stage.
type Age struct {
	Group string `json:"group"`
	Lanes int    `json:"lanes"`
	// Oldest is when the oldest message at a lane's head was stored in its work
	// queue; nil where that is not known yet. Of lanes that were found parked and
	// not worked on since, it is that of the message that was parked first.
	Oldest *time.Time `json:"oldestWaitingAt,omitempty"`
	// Cap is how many attempts may be under way at its destination, at the workers
	// that have lowered that; 0 where none has.
	Cap int `json:"loweredCap,omitempty"`
}

const (
	// shownGroups is how many groups have an age of their own in the metrics and
	// in an answer to Ask; those that wait longest.
	shownGroups = 100
	// restGroup stands for all others; no id begins so.
	restGroup = "_rest"
	// lookUpEvery is how often the ages of lanes are asked for that were found
	// parked and have not been worked on.
	lookUpEvery = 10 * time.Second
	lookUpLimit = 2 * time.Second
)

// Ages returns what waits at this process by group, the longest waiting
// first: 100 groups, and one named "_rest" for all others.
func (e *Engine) Ages() []Age {
	all := map[string]*groupAge{}
	for _, s := range e.running() {
		s.addAges(all)
	}
	out := longest(all)
	for i := range out {
		if now, most := e.Cap(e.handler.Destination(out[i].Group)); now < most {
			out[i].Cap = now
		}
	}
	return out
}

// longest orders groups, and puts those behind the first into one.
func longest(all map[string]*groupAge) []Age {
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		x, y := all[a].oldest, all[b].oldest
		if x.IsZero() != y.IsZero() {
			x, y = y, x // what is not known comes last
		}
		return cmp.Or(cmp.Compare(restLast(a), restLast(b)), x.Compare(y), cmp.Compare(a, b))
	})
	rest := &groupAge{}
	if len(names) > shownGroups {
		for _, name := range names[shownGroups:] {
			rest.add(all[name].lanes, all[name].oldest)
		}
		names = names[:shownGroups]
	}
	out := make([]Age, 0, len(names)+1)
	for _, name := range names {
		out = append(out, all[name].shown(name))
	}
	if rest.lanes > 0 {
		out = append(out, rest.shown(restGroup))
	}
	return out
}

// restLast keeps a worker's rest from the groups that have a line of their own.
func restLast(group string) int {
	if group == restGroup {
		return 1
	}
	return 0
}

// groupAge is what of a group is counted.
type groupAge struct {
	lanes  int
	oldest time.Time // zero: not known
}

// add adds lanes whose oldest message is from then.
func (g *groupAge) add(lanes int, oldest time.Time) {
	g.lanes += lanes
	if g.oldest.IsZero() || !oldest.IsZero() && oldest.Before(g.oldest) {
		g.oldest = oldest
	}
}

func (g *groupAge) shown(name string) Age {
	w := Age{Group: name, Lanes: g.lanes}
	if !g.oldest.IsZero() {
		w.Oldest = &g.oldest
	}
	return w
}

// groupIn returns a group's count, made at first use.
func groupIn(all map[string]*groupAge, name string) *groupAge {
	g := all[name]
	if g == nil {
		g = &groupAge{}
		all[name] = g
	}
	return g
}

// addAges adds what waits in the partition. It looks at each lane in memory,
// and asks nobody.
func (s *shard) addAges(all map[string]*groupAge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		at, waits := l.waitsSince()
		if !waits {
			continue
		}
		if at.IsZero() {
			at = s.oldest[l.id.Group]
		}
		groupIn(all, l.id.Group).add(1, at)
	}
}

// waitsSince returns the time of the message at the lane's head, zero where it
// isn't known; waits is false where there is none. The mutex is held.
func (l *lane) waitsSince() (at time.Time, waits bool) {
	switch {
	case l.parked && l.loaded && l.drained() && len(l.queue) == 0:
		return at, false
	case l.parked && (!l.loaded || !l.drained()):
		return l.headTime, true
	case len(l.queue) > 0:
		return l.queue[0].msg.Time, true
	}
	return at, false
}

// lookUp asks, for the groups with lanes that were found parked, for the oldest
// message of each: one question a group, however many its lanes are. They are
// asked again while such lanes are left, as those of a closed destination are.
func (s *shard) lookUp(ctx context.Context) error {
	tick := time.NewTicker(lookUpEvery)
	defer tick.Stop()
	for {
		s.lookUpOnce(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *shard) lookUpOnce(ctx context.Context) {
	found := map[string]time.Time{}
	s.mu.Lock()
	for _, l := range s.lanes {
		if l.parked && l.headTime.IsZero() {
			if found[l.id.Group] = s.oldest[l.id.Group]; len(found) == shownGroups {
				break
			}
		}
	}
	s.mu.Unlock()
	for group := range found {
		at, err := s.store.Oldest(ctx, group)
		if err != nil {
			s.log.Debug("the age of what is parked can't be read", zap.String("group", group), zap.Error(err))
			continue
		}
		found[group] = at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = found
}

// Oldest implements Store.
func (s *JetStream) Oldest(ctx context.Context, group string) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
	defer cancel()
	filter := topology.GroupFilter(s.stage, s.partition, group)
	raw, err := s.parked.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return at, nil
	}
	if err != nil {
		return at, fmt.Errorf("reading the first message of %s: %w", filter, err)
	}
	if ns, err := strconv.ParseInt(raw.Header.Get(topology.HeaderTime), 10, 64); err == nil {
		return time.Unix(0, ns), nil
	}
	return raw.Time, nil
}

// ages is a collector: the age of the oldest message by group, for groups that
// have one waiting, and for all others.
type ages struct {
	engine *Engine
	desc   *prometheus.Desc
}

func newAges(e *Engine) *ages {
	return &ages{engine: e, desc: prometheus.NewDesc("parley_lane_oldest_waiting_seconds",
		"Age of the oldest message that waits, by group: the channel at the user stage, the endpoint at the bot stage; _rest: all beyond the 100 oldest, 0 where there are none.",
		[]string{"group"}, prometheus.Labels{"stage": string(e.Stage)})}
}

// Describe implements prometheus.Collector.
func (a *ages) Describe(out chan<- *prometheus.Desc) { out <- a.desc }

// Collect implements prometheus.Collector.
func (a *ages) Collect(out chan<- prometheus.Metric) {
	now, rest := time.Now(), 0.0
	for _, w := range a.engine.Ages() {
		if w.Oldest == nil {
			continue
		}
		age := max(0, now.Sub(*w.Oldest).Seconds())
		if w.Group == restGroup {
			rest = age
			continue
		}
		out <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, age, w.Group)
	}
	out <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, rest, restGroup) // always there: an idle stage is none that is silent
}
