package bench

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func backlogOptions(t *testing.T) BacklogOptions {
	t.Helper()
	return BacklogOptions{Setup: runOptions(t).Setup, Backlogs: []int{30, 120}, Conversations: 20, Sessions: 10, Measured: 20, Rounds: 2}
}

func parkedOptions(t *testing.T) ParkedOptions {
	t.Helper()
	return ParkedOptions{Setup: runOptions(t).Setup, Messages: 100, Lanes: 25, Connections: 2, Duration: time.Millisecond}
}

func bulkheadOptions(t *testing.T) BulkheadOptions {
	t.Helper()
	return BulkheadOptions{
		Setup: runOptions(t).Setup, Rate: 500, Connections: 2, Conversations: 5, Duration: 100 * time.Millisecond, Hang: time.Second, Rounds: 2,
	}
}

func idleOptions(t *testing.T) IdleOptions {
	t.Helper()
	return IdleOptions{Setup: runOptions(t).Setup, Starts: 2, For: time.Millisecond}
}

func TestScenarioOptions(t *testing.T) {
	backlog, parked, bulkhead, idle := backlogOptions(t), parkedOptions(t), bulkheadOptions(t), idleOptions(t)
	require.NoError(t, backlog.Validate())
	require.NoError(t, parked.Validate())
	require.NoError(t, bulkhead.Validate())
	require.NoError(t, idle.Validate())
	for want, change := range map[string]func(b *BacklogOptions){
		"--backlog is empty":   func(b *BacklogOptions) { b.Backlogs = nil },
		"--backlog has 0":      func(b *BacklogOptions) { b.Backlogs = []int{1, 0} },
		"--conversations is 7": func(b *BacklogOptions) { b.Conversations = 7 },
		"--sessions is 1":      func(b *BacklogOptions) { b.Sessions = 1 },
		"--measured is -1":     func(b *BacklogOptions) { b.Measured = -1 },
		"--rounds is 0":        func(b *BacklogOptions) { b.Rounds = 0 },
		"--body is 1":          func(b *BacklogOptions) { b.Body = 1 },
	} {
		b := backlog
		change(&b)
		require.ErrorContains(t, b.Validate(), want)
	}
	for want, change := range map[string]func(p *ParkedOptions){
		"--messages is 0":    func(p *ParkedOptions) { p.Messages = 0 },
		"--lanes is 7":       func(p *ParkedOptions) { p.Lanes = 7 },
		"--connections is 0": func(p *ParkedOptions) { p.Connections = 0 },
	} {
		p := parked
		change(&p)
		require.ErrorContains(t, p.Validate(), want)
	}
	for want, change := range map[string]func(b *BulkheadOptions){
		"--rate is 0":          func(b *BulkheadOptions) { b.Rate = 0 },
		"--duration is 0":      func(b *BulkheadOptions) { b.Duration = 0 },
		"--hang is 0":          func(b *BulkheadOptions) { b.Hang = 0 },
		"--hang is 1h":         func(b *BulkheadOptions) { b.Hang = time.Hour },
		"--conversations is 1": func(b *BulkheadOptions) { b.Conversations = 1 },
	} {
		b := bulkhead
		change(&b)
		require.ErrorContains(t, b.Validate(), want)
	}
	for want, change := range map[string]func(i *IdleOptions){
		"--starts is 0":  func(i *IdleOptions) { i.Starts = 0 },
		"--settle is -1": func(i *IdleOptions) { i.Settle = -1 },
		"--length is 0":  func(i *IdleOptions) { i.For = 0 },
		`--bot is ""`:    func(i *IdleOptions) { i.Bot = "" },
	} {
		i := idle
		change(&i)
		require.ErrorContains(t, i.Validate(), want)
	}
}

// tables returns a report as a table, and reads it back from JSON.
func tables(t *testing.T, report interface {
	WriteTable(w io.Writer) error
	WriteJSON(w io.Writer) error
}, into any,
) string {
	t.Helper()
	var table, data bytes.Buffer
	require.NoError(t, report.WriteTable(&table))
	require.NoError(t, report.WriteJSON(&data))
	require.NoError(t, json.Unmarshal(data.Bytes(), into))
	return table.String()
}

// leavesNothing requires that a run removes its directory.
func leavesNothing(t *testing.T) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		left, err := os.ReadDir(tmp)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestRunBacklog(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := backlogOptions(t)
	leavesNothing(t)
	var progress bytes.Buffer

	b, err := RunBacklog(t.Context(), o, &progress)

	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(progress.String(), "\n"))
	require.Len(t, b.Rounds, 4)
	for i, waiting := range []int{30, 120, 30, 120} {
		r := b.Rounds[i]
		require.Equal(t, waiting, r.Waiting)
		require.LessOrEqual(t, r.Measured, waiting)
		require.Positive(t, r.AcceptedRate)
		require.Positive(t, r.Start)
		require.Zero(t, r.Duplicates+r.OrderViolations)
	}
	require.Len(t, b.Median, 2)
	var back Backlog
	require.Contains(t, tables(t, b, &back), "10 sessions before")
	require.Equal(t, *b, back)
}

func TestBacklogMedians(t *testing.T) {
	b := &Backlog{}
	for _, cost := range []float64{300, 100, 200} {
		for _, waiting := range []int{10, 20} {
			b.Rounds = append(b.Rounds, BacklogRound{
				Waiting: waiting, Measured: 5, CPU: map[string]float64{KindPipeline: cost * float64(10+waiting), serveName: cost},
				PeakRSS: map[string]int64{serveName: int64(cost) << 20}, Start: time.Duration(cost) * time.Millisecond,
			})
		}
	}
	b.summarise()
	require.InDelta(t, 1.5, b.Ratio, 1e-9)
	require.Equal(t, []int{10, 20}, []int{b.Median[0].Waiting, b.Median[1].Waiting})
	require.Equal(t, 15, b.Median[0].Measured)
	require.EqualValues(t, 300<<20, b.Median[0].PeakRSS[serveName])
	table := tables(t, b, &Backlog{})
	require.Regexp(t, `messages that wait +10 +20 +ratio`, table)
	require.Regexp(t, `CPU µs/message +4000 +6000 +1\.50`, table)
	require.Regexp(t, `start to ready, ms +200 +200 +1\.00`, table)
	require.Regexp(t, `peak RSS MiB, serve +300 +300 +1\.00`, table)
}

func TestRunParked(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := parkedOptions(t)
	leavesNothing(t)
	var progress bytes.Buffer

	p, err := RunParked(t.Context(), o, &progress)

	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(progress.String(), "\n"))
	require.Equal(t, 100, p.Drain.Delivered)
	require.Zero(t, p.Drain.Duplicates+p.Drain.OrderViolations+p.Drain.Lost)
	require.Positive(t, p.Parking)
	require.Positive(t, p.Drain.DeliveredRate)
	require.Positive(t, p.First)
	var back Parked
	require.Contains(t, tables(t, p, &back), "100 messages of 25 lanes")
	require.Equal(t, *p, back)
}

func TestRunBulkhead(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := bulkheadOptions(t)
	leavesNothing(t)
	var progress bytes.Buffer

	b, err := RunBulkhead(t.Context(), o, &progress)

	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(progress.String(), "\n"))
	require.Len(t, b.Rounds, 4)
	for i, r := range b.Rounds {
		require.Equal(t, i%2 == 1, r.Hanging)
		require.Equal(t, 50, r.Accepted)
		require.Equal(t, 50, r.Delivered)
		require.Equal(t, 50, r.NeighbourAccepted)
		require.Equal(t, 50, r.NeighbourArrived, "at its own endpoint")
		require.Positive(t, r.Latency.P50)
	}
	require.Positive(t, b.Ratio)
	var back Bulkhead
	require.Contains(t, tables(t, b, &back), "the neighbour hangs for 1s")
	require.Equal(t, *b, back)
}

func TestBulkheadMedians(t *testing.T) {
	b := &Bulkhead{}
	for _, p50 := range []time.Duration{30, 10, 20} {
		b.Rounds = append(b.Rounds,
			BulkheadRound{NeighbourAccepted: 7, Round: Round{Latency: Latency{P50: p50 * time.Millisecond}}},
			BulkheadRound{Hanging: true, NeighbourArrived: 2, Round: Round{Latency: Latency{P50: p50 * 3 / 2 * time.Millisecond}}})
	}
	b.summarise()
	require.InDelta(t, 1.5, b.Ratio, 1e-9)
	table := tables(t, b, &Bulkhead{})
	require.Regexp(t, `arrival ms, p50 +20\.00 +30\.00 +1\.50`, table)
	require.Regexp(t, `the neighbour's, accepted +21 +0`, table)
	require.Regexp(t, `and arrived at the end +0 +6`, table)
}

func TestRunIdle(t *testing.T) {
	t.Setenv(fakeBinary, "works")
	o := idleOptions(t)
	leavesNothing(t)

	i, err := RunIdle(t.Context(), o, io.Discard)

	require.NoError(t, err)
	require.Len(t, i.Starts, 2)
	require.Positive(t, i.Start)
	require.Positive(t, i.Again)
	require.Contains(t, i.CPU, serveName)
	var back Idle
	require.Contains(t, tables(t, i, &back), "CPU % of a core, serve")
	require.Equal(t, *i, back)
}
