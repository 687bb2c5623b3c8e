package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// log of what happened, in order.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) add(s string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, s)
}

// until runs until it is stopped, and takes its time to end.
func (e *events) until(name string, takes time.Duration, err error) unit {
	return unit{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(takes) //nolint:forbidigo // in a bubble: no time passes
		e.add(name)
		return err
	}}
}

func TestUnitsEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &events{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		start := time.Now()
		err := runUnits(ctx, zap.NewNop(), time.Minute,
			[]unit{e.until("ingest", 3*time.Second, nil)},
			[]unit{e.until("bot-worker", 2*time.Second, context.Canceled), e.until("delivery-worker", time.Second, nil)},
			[]unit{e.until("journal", 0, fmt.Errorf("stopped: %w", context.Canceled))})
		require.NoError(t, err)
		require.Equal(t, []string{"ingest", "delivery-worker", "bot-worker", "journal"}, e.all)
		require.Equal(t, time.Hour+5*time.Second, time.Since(start))
	})
}

func TestUnitThatFailsEndsAll(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"with an error":         {broken, "bot-worker: broken"},
		"by itself":             {nil, "bot-worker: ended by itself"},
		"as if it were stopped": {context.Canceled, "bot-worker: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &events{}
				core, logs := observer.New(zap.ErrorLevel)
				err := runUnits(t.Context(), zap.New(core), time.Minute,
					[]unit{e.until("ingest", 0, nil)},
					[]unit{{"bot-worker", func(context.Context) error { return tc.err }}},
					[]unit{e.until("journal", 0, nil)})
				require.EqualError(t, err, tc.want)
				require.Equal(t, []string{"ingest", "journal"}, e.all, "the others end in order")
				require.Equal(t, 1, logs.FilterMessageSnippet("ends the process").Len(), "it is said when it happens")
			})
		})
	}
}

func TestEachFailureIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &events{}
		core, logs := observer.New(zap.ErrorLevel)
		fail := func(name string, after time.Duration) unit {
			return unit{name, func(context.Context) error {
				time.Sleep(after) //nolint:forbidigo // in a bubble: no time passes
				return errors.New("broken")
			}}
		}
		err := runUnits(t.Context(), zap.New(core), time.Minute,
			[]unit{fail("one", time.Second), e.until("two", time.Second, errors.New("not stopped well"))},
			[]unit{e.until("three", 0, errors.New("neither"))})
		require.ErrorContains(t, err, "one: broken")
		require.ErrorContains(t, err, "two: not stopped well", "a failure at the end counts")
		require.Equal(t, 1, logs.FilterField(zap.String("service", "three")).Len(), "what the error has no place for is logged")
	})
}

func TestTheEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		stuck := unit{"delivery-worker", func(context.Context) error { <-release; return nil }}
		e := &events{}
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		err := runUnits(ctx, zap.NewNop(), 25*time.Second,
			[]unit{e.until("ingest", 5*time.Second, nil)},
			[]unit{e.until("bot-worker", 0, nil), stuck},
			[]unit{e.until("journal", 0, nil)})
		require.EqualError(t, err, "the end took longer than --shutdown-timeout 25s: cut off: delivery-worker")
		require.Equal(t, 26*time.Second, time.Since(start))
		close(release)
		synctest.Wait()
		require.Contains(t, e.all, "journal", "the rest is told to end as well")
	})
}
