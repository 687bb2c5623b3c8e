package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/telemetry"
)

// written is where a log is written to.
type written struct {
	mu    sync.Mutex
	text  bytes.Buffer
	calls int
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	return w.text.Write(p)
}

func (w *written) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimSuffix(w.text.String(), "\n"), "\n")
}

func TestLinesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &written{}
		log, stop, err := telemetry.NewLogger(w, "info", "json")
		require.NoError(t, err)
		named := log.Named("worker").With(zap.String("stage", "bot"))
		named.Info("one")
		named.Info("two")
		named.Debug("not asked for")
		require.Zero(t, w.calls, "they wait")
		named.Warn("three")
		require.Equal(t, 1, w.calls, "a warning takes them along")
		require.Len(t, w.lines(), 3)

		log.Info("four")
		time.Sleep(150 * time.Millisecond) //nolint:forbidigo // in a bubble
		synctest.Wait()
		require.Len(t, w.lines(), 4, "a line waits for 100 ms at most")

		log.Info("five", zap.Duration("duration", 1500*time.Microsecond), zap.Error(errors.New("no")))
		stop()
		require.Len(t, w.lines(), 5, "the end takes along what waits")
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(w.lines()[4]), &line))
		require.Equal(t, "info", line["level"])
		require.Equal(t, "five", line["msg"])
		require.Equal(t, "1.5ms", line["duration"])
		require.Equal(t, "no", line["error"])
		require.Contains(t, line["caller"], "log_test.go")
		_, err = time.Parse(time.RFC3339Nano, line["time"].(string))
		require.NoError(t, err)
	})
}

// BenchmarkLine is a line of the log into a buffer that is written now and then.
func BenchmarkLine(b *testing.B) {
	log, stop, err := telemetry.NewLogger(io.Discard, "info", "json")
	require.NoError(b, err)
	defer stop()
	log = log.WithOptions(zap.WithCaller(false))
	b.ReportAllocs()
	for b.Loop() {
		log.Info("attempt", zap.String("message", "msg_0qd5c5c1h0"), zap.Int("attempt", 1))
	}
}
