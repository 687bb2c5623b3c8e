package faults

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The environment of the full form; see `make test-faults`.
const (
	envSeeds   = "PARLEY_FAULTS_SEEDS"   // such as 10 (1 to 10) or 3,7; not set: the short form
	envLength  = "PARLEY_FAULTS_LENGTH"  // of each seed's faults, such as 60s
	envWorkers = "PARLEY_FAULTS_WORKERS" // of each stage
	envTable   = "PARLEY_FAULTS_TABLE"   // a file that gets the table in Markdown
)

// Whatever fails, nothing that was accepted is lost or comes out of order, and
// only what was in flight comes again. Every other seed takes Redis away too.
func TestFaults(t *testing.T) {
	table := TableHead
	for _, run := range runs(t) {
		t.Run(fmt.Sprintf("seed %d", run.Seed), func(t *testing.T) {
			report := run.Do(t, binaries)
			table += report.Row()
			t.Log(report.String())
			require.True(t, report.OK(), "promises are broken: see the report above; again with %s=%d,", envSeeds, run.Seed)
		})
	}
	if path := os.Getenv(envTable); path != "" {
		require.NoError(t, os.WriteFile(path, []byte(table), 0o600))
	}
	t.Log("\n" + table)
}

// runs reads what to run.
func runs(t *testing.T) []Run {
	t.Helper()
	run := Run{
		Seed: 1, Size: Size{Ingests: 2, BotWorkers: 2, DeliveryWorkers: 2, NATS: 3, Partitions: 4, LeaseTTL: 3 * time.Second},
		Length: 8 * time.Second, Every: 500 * time.Millisecond, Longest: 2 * time.Second,
		Conversations: 30, Pause: 400 * time.Millisecond,
	}
	seeds := os.Getenv(envSeeds)
	if seeds == "" {
		return []Run{run}
	}
	var err error
	run.Length, run.Every, run.Longest, run.Conversations = 75*time.Second, 1500*time.Millisecond, 12*time.Second, 60
	run.Size.BotWorkers, run.Size.DeliveryWorkers, run.Size.LeaseTTL = 3, 3, 5*time.Second
	if s := os.Getenv(envLength); s != "" {
		run.Length, err = time.ParseDuration(s)
		require.NoError(t, err, envLength)
	}
	if s := os.Getenv(envWorkers); s != "" {
		run.Size.BotWorkers, err = strconv.Atoi(s)
		require.NoError(t, err, envWorkers)
		run.Size.DeliveryWorkers = run.Size.BotWorkers
	}
	var all []Run
	for _, seed := range readSeeds(t, seeds) {
		run.Seed, run.Redis = seed, seed%2 == 0
		all = append(all, run)
	}
	return all
}

// readSeeds reads "10" as 1 to 10, and what has commas as a list.
func readSeeds(t *testing.T, s string) []uint64 {
	t.Helper()
	var seeds []uint64
	for field := range strings.SplitSeq(s, ",") {
		if field == "" {
			continue
		}
		n, err := strconv.ParseUint(field, 10, 32)
		require.NoError(t, err, envSeeds)
		seeds = append(seeds, n)
	}
	if strings.Contains(s, ",") {
		return seeds
	}
	require.LessOrEqual(t, seeds[0], uint64(100), "%s is a number of seeds; for one seed write it with a comma", envSeeds)
	last := seeds[0]
	seeds = nil
	for n := range last {
		seeds = append(seeds, n+1)
	}
	return seeds
}
