package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func examplePlan() Plan {
	return Plan{
		Length: 10 * time.Minute, Every: time.Second, Longest: 4 * time.Second,
		Services: []string{"ingest-1", "ingest-2", "ops", "bot-worker-1", "delivery-worker-1", "delivery-worker-2"},
		Workers:  []string{"delivery-worker-1", "delivery-worker-2"},
		Spares:   []string{"delivery-worker-3"},
		NATS:     []string{"nats-1", "nats-2", "nats-3"}, Redis: "redis-server",
	}
}

// A seed says what happens: always the same, and another seed something else.
func TestScheduleOfASeed(t *testing.T) {
	p := examplePlan()
	require.Equal(t, Schedule(7, p), Schedule(7, p))
	require.NotEqual(t, Schedule(7, p), Schedule(8, p))
}

// Every fault happens, within the time, and leaves its target the time to
// recover; of the NATS servers one at a time fails, or all.
func TestSchedule(t *testing.T) {
	p := examplePlan()
	for seed := range uint64(20) {
		schedule := Schedule(seed, p)
		seen := map[choice]bool{}
		free := map[string]time.Duration{}
		last := time.Duration(0)
		for _, f := range schedule {
			require.GreaterOrEqual(t, f.At, last)
			last = f.At
			require.LessOrEqual(t, f.At+f.For, p.Length)
			require.LessOrEqual(t, f.For, p.Longest)
			held := f.Target
			if held == "nats-1" || held == "nats-2" || held == "nats-3" {
				held = targetNATS
			}
			require.GreaterOrEqual(t, f.At, free[held], "seed %d: %s", seed, f)
			free[held] = f.At + f.For
			seen[choice{f.Kind, f.Target, held}] = true
		}
		for _, c := range p.deck() {
			require.True(t, seen[c], "seed %d: %s %s", seed, c.kind, c.target)
		}
	}
}

// Without Redis in the plan it is left alone.
func TestScheduleWithoutRedis(t *testing.T) {
	p := examplePlan()
	p.Redis = ""
	schedule := Schedule(1, p)
	require.NotEmpty(t, schedule)
	for _, f := range schedule {
		require.NotEqual(t, "redis-server", f.Target)
		require.NotEqual(t, Flush, f.Kind)
	}
}

// One fault lasts a minute, and keeps others from its target meanwhile: of every
// third seed all NATS servers are away, of the others a service is stopped.
func TestScheduleOfAMinute(t *testing.T) {
	p := examplePlan()
	p.Minute = true
	for seed := range uint64(9) {
		var long []Fault
		schedule := Schedule(seed, p)
		for _, f := range schedule {
			if f.For == time.Minute {
				long = append(long, f)
			}
		}
		require.Len(t, long, 1)
		require.Equal(t, seed%3 == 0, long[0].Kind == KillNATS)
		for _, f := range schedule {
			within := f.At >= long[0].At && f.At < long[0].At+long[0].For
			require.False(t, f != long[0] && f.Target == long[0].Target && within, "seed %d: %s", seed, f)
		}
	}
	p.Length = time.Minute
	for _, f := range Schedule(1, p) {
		require.LessOrEqual(t, f.For, p.Longest, "there is no room for it")
	}
}
