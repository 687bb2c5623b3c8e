package faults

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The faults.
const (
	Kill    Kind = "kill"    // SIGKILL a process; start it again afterwards
	Stop    Kind = "stop"    // SIGSTOP a process; SIGCONT it afterwards
	Restart Kind = "restart" // SIGTERM a service, as a deploy does; start it again afterwards

	KillNATS Kind = "kill all of" // SIGKILL every NATS server; start them again afterwards
	Flush    Kind = "flush"       // empty Redis

	Choke    Kind = "out of memory of" // Redis refuses writes: OOM
	FailOver Kind = "fail-over of"     // it is a replica whose master is gone: READONLY
	Delay    Kind = "slow answers of"  // it takes a second for each answer

	Errors   Kind = "errors of"    // the endpoint answers 500 to most
	Hang     Kind = "hang of"      // it answers some never
	Reset    Kind = "resets of"    // it resets some connections
	Slow     Kind = "slowness of"  // it takes its time
	Redirect Kind = "redirects of" // it redirects most to where nobody listens

	ScaleUp   Kind = "scale up by"   // start a spare worker; SIGTERM it afterwards
	ScaleDown Kind = "scale down by" // SIGTERM a worker; start it again afterwards
)

// Targets that are no process.
const (
	targetEndpoint = "endpoint"
	targetNATS     = "nats"
)

// Fault is one fault of a schedule.
type Fault struct {
	At     time.Duration // since the beginning
	For    time.Duration // until it is undone; 0: it is over at once
	Kind   Kind
	Target string // a process's name, "nats" for all servers, or "endpoint"
}

func (f Fault) String() string {
	return fmt.Sprintf("%6.2fs %s %s for %s", f.At.Seconds(), f.Kind, f.Target, f.For)
}

// Plan is what a schedule may choose from.
type Plan struct {
	Length time.Duration // all faults are undone by then
	// Every is the time between the beginnings of two faults, on the average.
	Every time.Duration
	// Longest bounds a fault.
	Longest time.Duration

	Services []string // processes that may be killed, stopped and restarted
	Workers  []string // those of them whose stage has others, so that it can do without
	Spares   []string // workers that don't run but may
	NATS     []string // servers of the cluster
	Redis    string   // empty: Redis is left alone

	// Minute adds one fault that lasts a minute, where the length has room for
	// it: all NATS servers are away (every third seed), or a service is stopped.
	Minute bool
}

// choice is a fault that can be chosen, and what it keeps from being chosen
// while it lasts.
type choice struct {
	kind   Kind
	target string
	holds  string
}

// Schedule makes a schedule: the same for the same seed and plan. It deals from
// a shuffled deck of all choices, so that a long one has each. NATS servers
// fail one at a time, or all together; the other targets, each by itself.
func Schedule(seed uint64, p Plan) []Fault {
	rnd := rand.New(rand.NewPCG(seed, 0))
	var (
		schedule []Fault
		deck     []choice
		until    = map[string]time.Duration{} // by what is held
	)
	if f, ok := p.minute(rnd, seed); ok {
		schedule = append(schedule, f)
		until[f.Target] = f.At + 2*f.For
	}
	for at := jitter(rnd, p.Every); at < p.Length; at += jitter(rnd, p.Every) {
		if len(deck) == 0 {
			deck = p.deck()
			rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		i := slices.IndexFunc(deck, func(c choice) bool { return until[c.holds] <= at })
		if i < 0 {
			continue
		}
		c := deck[i]
		deck = slices.Delete(deck, i, i+1)
		f := Fault{At: at, Kind: c.kind, Target: c.target}
		if c.kind != Flush {
			f.For = min(p.Longest/8+time.Duration(rnd.Int64N(int64(p.Longest-p.Longest/8))), p.Length-at)
		}
		// A target rests for as long as it was ill, so that it recovers.
		until[c.holds] = at + 2*f.For
		schedule = append(schedule, f)
	}
	slices.SortStableFunc(schedule, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return schedule
}

// minute is the fault that lasts a minute. No other of its target begins before
// it, since there isn't the time to recover.
func (p Plan) minute(rnd *rand.Rand, seed uint64) (Fault, bool) {
	f := Fault{At: 5 * time.Second, For: time.Minute, Kind: KillNATS, Target: targetNATS}
	if seed%3 != 0 || len(p.NATS) == 0 {
		f.Kind, f.Target = Stop, p.Services[rnd.IntN(len(p.Services))]
	}
	return f, p.Minute && f.At+f.For < p.Length
}

// jitter varies a time by half of it.
func jitter(rnd *rand.Rand, d time.Duration) time.Duration {
	return d/2 + time.Duration(rnd.Int64N(int64(d)))
}

// deck is every choice once.
func (p Plan) deck() []choice {
	var deck []choice
	add := func(target, holds string, kinds ...Kind) {
		for _, k := range kinds {
			deck = append(deck, choice{k, target, cmp.Or(holds, target)})
		}
	}
	for _, s := range p.Services {
		add(s, "", Kill, Stop, Restart)
	}
	for _, w := range p.Workers {
		add(w, "", ScaleDown)
	}
	for _, s := range p.Spares {
		add(s, "", ScaleUp)
	}
	for _, n := range p.NATS {
		add(n, targetNATS, Kill, Stop)
	}
	if len(p.NATS) > 0 {
		add(targetNATS, targetNATS, KillNATS)
	}
	if p.Redis != "" {
		add(p.Redis, "", Kill, Stop, Flush, Choke, FailOver, Delay)
	}
	add(targetEndpoint, "", Errors, Hang, Reset, Slow, Redirect)
	return deck
}
