package partition_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/suspend"
)

// envProcess makes the test's binary a worker process; it is the broker's URL.
const envProcess = "PARTITION_TEST_PROCESS"

const processPartitions = 2

// workInProcess is a worker that says on work.<partition>.<epoch>, every few
// milliseconds, that it works, and on ended.<partition>.<epoch> how its hold
// ended. It ends with its standard input.
func workInProcess() {
	if err := work(os.Getenv(envProcess)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func work(url string) error {
	conn, err := broker.Connect(url, "process", zap.NewNop())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		var b [1]byte
		_, _ = os.Stdin.Read(b[:]) // ends when the test closes it, or dies
	}()
	o, err := partition.NewShared(ctx, conn.JS, chat.StageUser, processPartitions, "process", quick)
	if err != nil {
		return err
	}
	return o.Run(ctx, func(ctx context.Context, l partition.Lease) error {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		name := fmt.Sprintf("%d.%d", l.Partition(), l.Epoch())
		for {
			select {
			case <-ctx.Done():
				return conn.NATS.Publish("ended."+name, []byte(context.Cause(ctx).Error()))
			case <-tick.C:
			}
			if ctx.Err() == nil && time.Now().Before(l.Deadline()) {
				if err := conn.NATS.Publish("work."+name, nil); err != nil && !errors.Is(err, nats.ErrReconnectBufExceeded) {
					return err
				}
			}
		}
	})
}

func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	s := newStage(t, processPartitions, quick)
	reports := make(chan *nats.Msg, 65536)
	for _, subject := range []string{"work.>", "ended.>"} {
		_, err := s.conn.NATS.ChanSubscribe(subject, reports)
		require.NoError(t, err)
	}
	require.NoError(t, s.conn.NATS.Flush())
	process := startProcess(t, s.server.URL())

	epochs := map[int]uint64{} // the process's, before it is stopped
	next := func() (kind string, p int, epoch uint64, data string) {
		t.Helper()
		select {
		case m := <-reports:
			kind, p, epoch = parseReport(t, m.Subject)
			return kind, p, epoch, string(m.Data)
		case <-time.After(patience):
			require.Fail(t, "the process says nothing")
			return
		}
	}
	for len(epochs) < processPartitions {
		if kind, p, epoch, _ := next(); kind == "work" {
			epochs[p] = epoch
		}
	}
	require.NoError(t, suspend.Suspend(process))
	a := s.join("a")
	s.untilLoads(map[*worker]int{a: processPartitions})
	for len(reports) > 0 { // what it said before it was stopped
		<-reports
	}
	require.NoError(t, suspend.Resume(process))

	// It notices, lets go of what it had, and comes back for its share.
	late, ended, again := 0, 0, false
	for ended < processPartitions || !again {
		kind, p, epoch, data := next()
		switch {
		case kind == "ended" && epoch == epochs[p]:
			require.Equal(t, partition.ErrLapsed.Error(), data)
			ended++
		case kind == "work" && epoch == epochs[p]:
			late++
		case kind == "work":
			require.Greater(t, epoch, epochs[p])
			again = true
		}
	}
	require.LessOrEqual(t, late, processPartitions, "at most what it was sending at that instant")
	s.until("it has its share", func() bool { return len(s.owners()) == 1 })
}

func parseReport(t *testing.T, subject string) (kind string, p int, epoch uint64) {
	t.Helper()
	parts := strings.Split(subject, ".")
	require.Len(t, parts, 3)
	p, err := strconv.Atoi(parts[1])
	require.NoError(t, err)
	epoch, err = strconv.ParseUint(parts[2], 10, 64)
	require.NoError(t, err)
	return parts[0], p, epoch
}

// startProcess runs workInProcess until the test ends.
func startProcess(t *testing.T, url string) *os.Process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self)
	cmd.Env = append(os.Environ(), envProcess+"="+url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = suspend.Resume(cmd.Process)
		_ = stdin.Close()
		require.NoError(t, cmd.Wait())
	})
	return cmd.Process
}
