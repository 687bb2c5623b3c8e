package faults

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// Size is how many processes a system has.
type Size struct {
	Ingests, BotWorkers, DeliveryWorkers, NATS int
	Partitions                                 int
	LeaseTTL                                   time.Duration
}

// rig is a system whose processes can be harmed. Its methods are the test's
// goroutine's.
type rig struct {
	t       testing.TB
	system  *e2e.System
	nats    []*e2e.NATS
	redis   *e2e.Redis
	proxy   *e2e.Proxy // before Redis
	senders *senders
	members map[string]*member
	order   []string // of the members' starts
	events  []Event
	// falls are the ends of processes that had been ready and ended by themselves.
	// They are started again, as an orchestrator does.
	falls []string
}

// member is a process that should run, unless a fault says otherwise.
type member struct {
	*e2e.Process
	service *e2e.Service // nil for the stores
	launch  func()
	ready   func(ctx context.Context) bool
	wanted  bool
	severs  bool // a delivery worker
	told    bool // to end, or not started yet
	fell    time.Time
}

// fallPause is how long a process that ended by itself stays down.
const fallPause = 500 * time.Millisecond

func start(t testing.TB, binaries *e2e.Binaries, size Size) *rig {
	t.Helper()
	r := &rig{t: t, members: map[string]*member{}, system: e2e.NewSystem(t, binaries)}
	r.redis = e2e.StartRedis(t)
	r.proxy = e2e.StartProxy(t, r.redis.Addr)
	r.senders = newSenders()
	r.add(r.redis.Process, r.redis.Process.Start, r.redis.Answers)
	r.nats = e2e.StartNATSCluster(t, binaries, size.NATS)
	var urls []string
	for _, n := range r.nats {
		urls = append(urls, n.URL)
		r.add(n.Process, n.Process.Start, n.Healthy)
	}
	env := append(e2e.Environment(strings.Join(urls, ","), "redis://"+r.proxy.Addr()+"/0"),
		"PARLEY_REPLICAS="+strconv.Itoa(size.NATS), "PARLEY_PARTITIONS="+strconv.Itoa(size.Partitions),
		"PARLEY_LEASE_TTL="+size.LeaseTTL.String(), "PARLEY_JOURNAL=off")
	r.service("ops", "ops", env).wanted = true
	r.awaitReady("ops") // it lays the streams out
	for _, stage := range []struct {
		command       string
		count, spares int
	}{
		{"ingest", size.Ingests, 0},
		{"bot-worker", size.BotWorkers, size.spares(size.BotWorkers)},
		{"delivery-worker", size.DeliveryWorkers, size.spares(size.DeliveryWorkers)},
	} {
		for i := range stage.count + stage.spares {
			m := r.service(fmt.Sprintf("%s-%d", stage.command, i+1), stage.command, env)
			m.wanted = i < stage.count
			m.severs = stage.command == "delivery-worker"
		}
	}
	r.awaitAll()
	return r
}

// spares is how many workers beyond those that run a stage may have.
func (s Size) spares(workers int) int {
	if workers > 1 {
		return 1
	}
	return 0
}

func (r *rig) service(name, command string, env []string) *member {
	s := r.system.Add(name, command, env)
	launch := func() {
		s.Launch()
		r.senders.started(s.PID(), name)
	}
	m := r.add(s.Process, launch, func(context.Context) bool { return s.Ready() })
	m.service = s
	return m
}

func (r *rig) add(p *e2e.Process, launch func(), ready func(ctx context.Context) bool) *member {
	m := &member{Process: p, launch: launch, ready: ready, wanted: p.Running(), told: !p.Running()}
	r.members[p.Name()] = m
	r.order = append(r.order, p.Name())
	return m
}

// plan is what there is to harm.
func (r *rig) plan(size Size, redis bool) Plan {
	p := Plan{Services: []string{"ops"}}
	for _, name := range r.order {
		stage := strings.TrimRight(name, "-0123456789")
		switch {
		case name == r.redis.Name():
			if redis {
				p.Redis = name
			}
		case stage == "nats":
			p.NATS = append(p.NATS, name)
		case name == "ops":
		case !r.members[name].wanted:
			p.Spares = append(p.Spares, name)
		default:
			p.Services = append(p.Services, name)
			if stage == "bot-worker" && size.BotWorkers > 1 || stage == "delivery-worker" && size.DeliveryWorkers > 1 {
				p.Workers = append(p.Workers, name)
			}
		}
	}
	return p
}

// tend starts what should run and doesn't.
func (r *rig) tend() {
	for _, name := range r.order {
		m := r.members[name]
		switch {
		case !m.wanted || m.Running():
			continue
		case m.told:
			m.told = false
			m.launch()
		case m.fell.IsZero():
			m.fell = time.Now()
			if m.service != nil && !m.service.Ready() {
				continue // it could not start now, which its log says
			}
			log := strings.Split(m.Tail(), "\n")
			r.falls = append(r.falls, fmt.Sprintf("%s %s ended by itself: %s", clock(m.fell), name, log[len(log)-1]))
		case time.Since(m.fell) > fallPause:
			m.fell = time.Time{}
			m.launch()
		}
	}
}

// healWithin bounds the wait until all is well again after the faults.
const healWithin = 90 * time.Second

// awaitAll tends the processes until all are ready.
func (r *rig) awaitAll() {
	r.t.Helper()
	r.awaitReady(r.order...)
	for name, service := range r.system.Services {
		if name == "ops" || strings.HasPrefix(name, "ingest-") {
			service.AwaitReady() // it may have another address
		}
	}
}

func (r *rig) awaitReady(names ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), healWithin)
	defer cancel()
	for {
		r.tend()
		missing := ""
		for _, name := range names {
			if m := r.members[name]; m.wanted && (!m.Running() || !m.ready(ctx)) {
				missing = name
				break
			}
		}
		if missing == "" {
			return
		}
		if !wait(ctx, 200*time.Millisecond) {
			// Go's programs say in their log what they were at.
			r.members[missing].signal(syscall.SIGQUIT)
			require.FailNow(r.t, missing+" is not ready", "within %s", healWithin)
		}
	}
}

// note writes an event down.
func (r *rig) note(f Fault, undone bool) {
	m := r.members[f.Target]
	e := Event{At: time.Now(), Kind: f.Kind, Target: f.Target, Undone: undone}
	e.Severs = m != nil && m.severs && (f.Kind == Stop || f.Kind == Kill && !undone)
	r.events = append(r.events, e)
}

func (m *member) signal(s syscall.Signal) { m.alive(func(p *e2e.Process) { p.Signal(s) }) }

// alive does something to a process unless it has ended.
func (m *member) alive(do func(*e2e.Process)) {
	if m.Running() {
		do(m.Process)
	}
}

// end ends a process, as a crash would or by asking, until it is wanted again.
func (m *member) end(crash bool) {
	m.wanted, m.told = false, true
	switch {
	case !m.Running():
	case crash:
		m.Kill()
	default:
		m.Signal(syscall.SIGTERM)
	}
}
