package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// envMessages is how many messages the crowd says; see `make test-upgrade`.
const envMessages = "PARLEY_UPGRADE_MESSAGES"

const (
	conversations = 60
	failingShare  = 0.2
)

// each is how many messages a conversation of the crowd says.
func each(t *testing.T, unset int) int {
	t.Helper()
	s := os.Getenv(envMessages)
	if s == "" {
		return unset
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, envMessages)
	return max(1, n/conversations)
}

// step replaces one process.
type step struct {
	process string
	kill    bool
}

// replace ends a process and starts the other version in its place.
func (st step) replace(s *e2e.System, next *e2e.Binaries) {
	service := s.Services[st.process]
	if st.kill {
		service.Kill()
	} else {
		service.Stop()
	}
	service.Become(next.Parley)
	service.Start()
}

// A rolling restart goes from one version to the other and back, process by
// process, in the order that docs/upgrading.md gives: while conversations talk
// at an endpoint that fails a fifth of its requests. Nothing is lost, everything
// is in order, and nothing comes again but what was in flight at a kill. What
// one version parked or gave up the other goes on with.
func TestRollingRestart(t *testing.T) {
	env := []string{"PARLEY_LEASE_TTL=2s"}
	s := e2e.StartFourProcessesWith(t, before, env...)
	for _, command := range []string{"delivery-worker", "bot-worker"} {
		s.Add(command+"-2", command, s.Services[command].Env()).Start()
	}
	forth := []step{{"delivery-worker", false}, {"delivery-worker-2", true}, {"bot-worker", false}, {"bot-worker-2", false}, {"ingest", false}, {"ops", false}}
	back := []step{{"ops", false}, {"ingest", false}, {"bot-worker-2", true}, {"bot-worker", false}, {"delivery-worker-2", false}, {"delivery-worker", false}}
	roll(t, s, each(t, 30), forth, back)
}

// The same where everything is one process on one data directory.
func TestServe(t *testing.T) {
	for _, test := range []struct {
		name string
		kill bool
	}{
		{"told to end", false},
		{"killed", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := e2e.StartServe(t, before)
			only := []step{{"serve", test.kill}}
			roll(t, s, each(t, 15), only, only)
		})
	}
}

// roll has a crowd talk while the steps are taken, and judges what came of it.
func roll(t *testing.T, s *e2e.System, each int, forth, back []step) {
	t.Helper()
	flaky, versions := e2e.NewFlaky(3, failingShare), &versions{}
	shop := e2e.NewCustomerWith(t, s, "shop", "echo", e2e.Patient(), webhooktest.WithScript(versions.note(flaky.Answer)))
	first, second := newLeftovers(t, s, "first"), newLeftovers(t, s, "second")
	crowd := e2e.NewCrowd(shop, conversations, each, 1)
	part := crowd.Messages() / (len(forth) + len(back) + 1)
	pace := newPace(part)
	crowd.Wait = pace.wait
	ctx, cancel := context.WithTimeout(t.Context(), e2e.TalkWithin)
	defer cancel()
	talking, tctx := errgroup.WithContext(ctx)
	talking.Go(func() error { return crowd.Talk(tctx) })

	done, kills := 0, 0
	take := func(steps []step, next *e2e.Binaries) {
		for _, st := range steps {
			done++
			pace.allow((done + 1) * part)
			require.NoError(t, flaky.AwaitConfirmed(ctx, done*part))
			if st.kill {
				kills++
			}
			st.replace(s, next) //nolint:contextcheck // processes end with the test
			crowd.MoveTo(s.PublicURL())
		}
		s.Use(next)
	}
	first.leave(s)
	take(forth, after)
	first.take(s)
	second.leave(s)
	take(back, before)
	left := 0
	if operates(t, before) {
		second.take(s)
	} else {
		left = len(texts)
	}
	pace.allow(crowd.Messages())
	require.NoError(t, talking.Wait())
	require.NoError(t, flaky.AwaitConfirmed(ctx, crowd.Messages()))
	s.AwaitSettled(uint64(left))

	require.Equal(t, crowd.Messages(), crowd.Accepted())
	seen := e2e.Inspect(t, flaky, crowd)
	require.GreaterOrEqual(t, seen.Delivered, crowd.Messages(), "every message is delivered")
	require.LessOrEqual(t, seen.Delivered, crowd.Messages()+crowd.Lost(), "only a message whose answer was lost is a new one when it is sent again")
	require.LessOrEqual(t, seen.Repeated, kills*e2e.InFlight, "only what was in flight at a kill comes again")
	require.EqualValues(t, left, s.CountDeadLetters())
	require.ElementsMatch(t, []string{"Parley/before", "Parley/e2e"}, versions.all(), "both versions delivered")
	t.Logf("%d messages, %d answers lost, %d requests, %d of them failed, %d repeated", crowd.Messages(), crowd.Lost(), seen.Requests, seen.Failed, seen.Repeated)
}

// pace keeps a crowd from getting far ahead of the steps, so that it talks during
// each of them.
type pace struct {
	mu      sync.Mutex
	allowed int
	changed chan struct{} // closed when allowed rises
}

func newPace(allowed int) *pace { return &pace{allowed: allowed, changed: make(chan struct{})} }

func (p *pace) allow(messages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = messages
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait is the crowd's Wait.
func (p *pace) wait(ctx context.Context, said int) error {
	for {
		p.mu.Lock()
		allowed, changed := p.allowed, p.changed
		p.mu.Unlock()
		if said < allowed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// leftovers are what one version leaves to the other: a lane that is parked for
// an hour, and dead letters.
type leftovers struct {
	t            *testing.T
	parked, dead *e2e.Customer
	open         atomic.Bool
}

func newLeftovers(t *testing.T, s *e2e.System, name string) *leftovers {
	t.Helper()
	l := &leftovers{t: t}
	answer := webhooktest.WithScript(func(int, *webhooktest.Received) webhooktest.Reply {
		if l.open.Load() {
			return webhooktest.Reply{}
		}
		return webhooktest.Reply{Status: http.StatusInternalServerError}
	})
	l.parked = e2e.NewCustomerWith(t, s, name+"-parked", "echo", []string{"--retry", "1h,1h"}, answer)
	l.dead = e2e.NewCustomerWith(t, s, name+"-dead", "echo", []string{"--retry", "10ms"}, answer)
	return l
}

// operates reports whether a version has the commands that take what is left: in
// one of before they were there it stays where it is.
func operates(t *testing.T, b *e2e.Binaries) bool {
	t.Helper()
	lanes := exec.CommandContext(t.Context(), b.Parley, "lane", "retry-now", "--help").Run()
	replays := exec.CommandContext(t.Context(), b.Parley, "dead", "replay", "--help").Run()
	return errors.Join(lanes, replays) == nil
}

var texts = []string{"one", "two", "three"}

// leave has the version that runs leave something.
func (l *leftovers) leave(s *e2e.System) {
	l.t.Helper()
	for _, text := range texts {
		l.parked.Say("anna", text)
		l.dead.Say("anna", text)
	}
	e2e.Await(l.t, func() string { return "what is left for later" }, func(ctx context.Context) bool {
		letters, err := s.DeadLetters(ctx, l.dead.Channel)
		return err == nil && len(letters) == len(texts) && len(l.parked.All()) == 1
	})
}

// take has the version that runs go on with what the other one left: the lane's
// first message at its second attempt, the dead letters as a replay.
func (l *leftovers) take(s *e2e.System) {
	l.t.Helper()
	l.open.Store(true)
	s.Parley("lane", "retry-now", "--endpoint", l.parked.EndpointID)
	l.parked.Await(1 + len(texts))
	require.Equal(l.t, []string{"1/1", "1/2", "2/1", "3/1"}, e2e.Tries(l.parked.All()))
	tried := len(l.dead.All())
	var job ops.ReplayJob
	s.Read(&job, "dead", "replay", "--endpoint", l.dead.EndpointID, "--wait")
	require.Equal(l.t, replay.Done, job.State)
	require.EqualValues(l.t, len(texts), job.Done)
	var counters []uint64
	for _, r := range l.dead.Await(tried + len(texts))[tried:] {
		require.Equal(l.t, job.ID, r.Header.Get("Parley-Replay"))
		counters = append(counters, r.Body.MessageCounter)
	}
	require.Equal(l.t, []uint64{1, 2, 3}, counters)
}

// versions are the versions of parley that an endpoint heard from.
type versions struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (v *versions) note(next webhooktest.Script) webhooktest.Script {
	return func(n int, r *webhooktest.Received) webhooktest.Reply {
		v.mu.Lock()
		if v.seen == nil {
			v.seen = map[string]bool{}
		}
		v.seen[r.Header.Get("User-Agent")] = true
		v.mu.Unlock()
		return next(n, r)
	}
}

func (v *versions) all() (out []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for version := range v.seen {
		out = append(out, version)
	}
	return out
}

// A revision that isn't there fails with what to do.
func TestNoSuchRevision(t *testing.T) {
	err := checkOut(t.Context(), "no-such-revision", t.TempDir()+"/", t.TempDir()+"/index")
	require.ErrorContains(t, err, "no-such-revision")
	require.ErrorContains(t, err, envFrom)
	clone := t.TempDir()
	root, err := git(t.Context(), "", "", "rev-parse", "--show-toplevel")
	require.NoError(t, err)
	_, err = git(t.Context(), "", "", "clone", "--quiet", "--depth", "1", "file://"+root, clone)
	require.NoError(t, err)
	t.Chdir(clone)
	err = checkOut(t.Context(), "HEAD~1", t.TempDir()+"/", t.TempDir()+"/index")
	require.ErrorContains(t, err, "git fetch --unshallow", fmt.Sprint(err))
}
