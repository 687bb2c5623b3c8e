package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// platter is a disk that a test can watch: it knows which files were synced
// with which bytes in them.
type platter struct {
	mu     sync.Mutex
	synced map[string][]byte // by path
	syncs  int
	fails  error
	block  chan struct{} // if set, a sync takes a value from it first
	begun  chan string   // if set, gets the path before that
}

func (p *platter) sync(f *os.File) error {
	if p.begun != nil {
		p.begun <- f.Name()
	}
	if p.block != nil {
		<-p.block
	}
	var data []byte
	if strings.HasSuffix(f.Name(), blockSuffix) {
		var err error
		if data, err = os.ReadFile(f.Name()); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails != nil {
		return p.fails
	}
	p.syncs++
	p.synced[f.Name()] = data
	return nil
}

// has reports whether a stream's synced files hold something.
func (p *platter) has(stream, what string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, data := range p.synced {
		if strings.Contains(path, "/streams/"+stream+"/") && bytes.Contains(data, []byte(what)) {
			return true
		}
	}
	return false
}

// onPlatter starts a server that syncs to a platter, with the streams A, B and
// LOSSY.
func onPlatter(t *testing.T, p *platter) *Conn {
	t.Helper()
	p.synced = map[string][]byte{}
	dir := t.TempDir()
	srv, err := StartServer(ServerOptions{Dir: dir, MaxStore: 1 << 30, MaxMemory: 1 << 20, SyncInterval: time.Minute}, zap.NewNop())
	require.NoError(t, err)
	srv.disk = newDisk(dir, []string{"LOSSY"}, p.sync)
	conn, err := srv.Connect("test", zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		if p.block != nil {
			close(p.block)
		}
		_ = srv.Close(context.WithoutCancel(t.Context())) // where the platter fails, so does this
	})
	for _, name := range []string{"A", "B", "LOSSY"} {
		_, err := conn.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{strings.ToLower(name) + ".>"}})
		require.NoError(t, err)
	}
	return conn
}

func TestPublishedIsOnDisk(t *testing.T) {
	p := &platter{}
	conn := onPlatter(t, p)
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			stream := []string{"A", "B"}[i%2]
			what := fmt.Sprintf("<%d>", i)
			_, err := conn.Publish(t.Context(), Message{Subject: strings.ToLower(stream) + ".x", Data: []byte(what)})
			if err != nil || !p.has(stream, what) {
				t.Errorf("message %d was answered before it was on disk: %v", i, err)
			}
		})
	}
	group.Wait()
}

func TestSyncsAreShared(t *testing.T) {
	const publishers = 100
	p := &platter{block: make(chan struct{}), begun: make(chan string, 10)}
	conn := onPlatter(t, p)
	publish := func() {
		if _, err := conn.Publish(t.Context(), Message{Subject: "a.x"}); err != nil {
			t.Error(err)
		}
	}
	var group sync.WaitGroup
	group.Go(publish)
	<-p.begun // and it waits for the disk, as the others do for their turn
	for range publishers {
		group.Go(publish)
	}
	require.Eventually(t, func() bool {
		conn.disk.mu.Lock()
		defer conn.disk.mu.Unlock()
		return conn.disk.streams["A"].stored == publishers+1
	}, time.Minute, time.Millisecond)
	for range 3 { // the first one's file and directory, then one for all
		p.block <- struct{}{}
	}
	group.Wait()
	require.Equal(t, 3, p.syncs)
}

func TestLater(t *testing.T) {
	p := &platter{block: make(chan struct{}), begun: make(chan string, 10)}
	conn := onPlatter(t, p)
	_, err := conn.Publish(t.Context(), Message{Subject: "a.x", Data: []byte("<later>"), Later: true})
	require.NoError(t, err, "it waits for no disk")
	<-p.begun
	// A sync is under way that began before these, and may be without them.
	_, err = conn.Publish(t.Context(), Message{Subject: "a.x", Data: []byte("<even later>"), Later: true})
	require.NoError(t, err)
	after := make(chan bool, 2)
	conn.AfterSync(func() { after <- p.has("A", "<even later>") })
	synced := make(chan error, 1)
	go func() { synced <- conn.Sync(t.Context()) }()
	require.Empty(t, after, "nothing is called before the disk has it")
	require.Empty(t, synced, "nor does anything return")
	close(p.block)
	require.True(t, <-after)
	require.NoError(t, <-synced)
	p.block = nil
}

func TestEveryBlockIsSynced(t *testing.T) {
	p := &platter{}
	conn := onPlatter(t, p)
	const messages = 40
	data := bytes.Repeat([]byte("x"), 1<<20-64)
	for i := range messages {
		_, err := conn.Publish(t.Context(), Message{Subject: "a.x", Data: append(data, fmt.Sprintf("<%d>", i)...), Later: i < messages-1})
		require.NoError(t, err)
	}
	for i := range messages {
		require.True(t, p.has("A", fmt.Sprintf("<%d>", i)), i)
	}
	blocks, dirs := 0, 0
	for path := range p.synced {
		if strings.HasSuffix(path, blockSuffix) {
			blocks++
		} else {
			dirs++
			require.Equal(t, "msgs", filepath.Base(path))
		}
	}
	require.Greater(t, blocks, 2)
	require.Equal(t, 1, dirs)
}

func TestUnsyncedStream(t *testing.T) {
	p := &platter{}
	conn := onPlatter(t, p)
	_, err := conn.Publish(t.Context(), Message{Subject: "lossy.x", Later: true})
	require.NoError(t, err)
	_, err = conn.Publish(t.Context(), Message{Subject: "a.x"})
	require.NoError(t, err)
	require.NoError(t, conn.Sync(t.Context()))
	for path := range p.synced {
		require.NotContains(t, path, "LOSSY")
	}
}

func TestDiskFails(t *testing.T) {
	broken := errors.New("input/output error")
	p := &platter{fails: broken}
	conn := onPlatter(t, p)
	require.NoError(t, conn.Ready())
	_, err := conn.Publish(t.Context(), Message{Subject: "a.x"})
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, conn.Ready(), "stream A could not be brought to the disk")

	p.mu.Lock()
	p.fails = nil // what was not written then may be lost, whatever is written now
	p.mu.Unlock()
	_, err = conn.Publish(t.Context(), Message{Subject: "b.x"})
	require.ErrorIs(t, err, broken)
	conn.AfterSync(func() { t.Error("nothing may follow from what may be lost") })
	require.ErrorIs(t, conn.SyncStream(t.Context(), "B"), broken)
	require.ErrorIs(t, conn.Sync(t.Context()), broken)
}
