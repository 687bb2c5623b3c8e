package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// disk brings the embedded server's streams to the disk with group commit. The
// server by itself either syncs each message alone, which costs a sync a
// message whatever the concurrency, or syncs every so often. Here it only
// writes; what has been written to a stream is synced with one call for all who
// wait for it, and what nobody waits for with one call now and then.
//
// A stream's messages stand in numbered block files, appended to the last one
// (the server's file store, which recovers from these alone). The files are
// opened by name each time: the server replaces one when it compacts it.
type disk struct {
	dir    string                    // of the streams
	exempt map[string]bool           // streams that may lose their end
	sync   func(file *os.File) error // fsync

	mu      sync.Mutex
	streams map[string]*onDisk
	later   []func()      // to be called once what is dirty now is on disk
	failed  error         // what was not synced may never be: nothing is promised any more
	broken  chan struct{} // closed with failed
	hurry   chan struct{} // somebody waits for a stream
	all     chan struct{} // somebody waits for all of them
	stop    chan struct{}
	done    sync.WaitGroup
}

// onDisk is a stream with what is known of its files.
type onDisk struct {
	name string
	// stored counts what was stored, synced how much of that is on disk.
	stored, synced uint64
	waiting        []chan error // for the next sync

	syncing sync.Mutex // held during a sync; guards block
	block   uint64     // the last block file that was there then
}

// lazily is how long what nobody waits for may stay unsynced.
const lazily = 100 * time.Millisecond

func newDisk(storeDir string, exempt []string, sync func(*os.File) error) *disk {
	d := &disk{
		dir:    filepath.Join(storeDir, "jetstream", "$G", "streams"),
		exempt: map[string]bool{}, sync: sync, streams: map[string]*onDisk{},
		broken: make(chan struct{}), hurry: make(chan struct{}, 1), all: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	for _, stream := range exempt {
		d.exempt[stream] = true
	}
	d.done.Go(d.commit)
	d.done.Go(d.commitLater)
	return d
}

// close syncs what is dirty and ends. Nothing may be stored any more.
func (d *disk) close() error {
	close(d.stop)
	d.done.Wait()
	d.commitAll()
	return d.failure()
}

// stored notes that something was stored in a stream.
func (d *disk) stored(stream string) {
	if d.exempt[stream] {
		return
	}
	d.mu.Lock()
	d.stream(stream).stored++
	d.mu.Unlock()
}

// stream returns a stream's record; the mutex is held.
func (d *disk) stream(name string) *onDisk {
	s := d.streams[name]
	if s == nil {
		s = &onDisk{name: name}
		d.streams[name] = s
	}
	return s
}

// await returns when what was stored in the stream before the call is on disk.
func (d *disk) await(ctx context.Context, stream string) error {
	done := make(chan error, 1)
	d.mu.Lock()
	s := d.stream(stream)
	s.waiting = append(s.waiting, done)
	d.mu.Unlock()
	wake(d.hurry)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.stop:
		return errClosed
	}
}

// wake has a loop look again; it may be told so already.
func wake(loop chan struct{}) {
	select {
	case loop <- struct{}{}:
	default:
	}
}

// awaitAll returns when all that was stored before the call is on disk.
func (d *disk) awaitAll(ctx context.Context) error {
	done := make(chan struct{})
	d.after(func() { close(done) })
	wake(d.all)
	select {
	case <-done:
		return nil
	case <-d.broken:
		return d.failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// after calls f, from a goroutine of the disk's, when everything that was stored
// before the call is on disk; never, when that fails.
func (d *disk) after(f func()) {
	d.mu.Lock()
	d.later = append(d.later, f)
	d.mu.Unlock()
}

// commit syncs the streams that somebody waits for, all of them side by side,
// and then those that came meanwhile.
func (d *disk) commit() {
	for {
		select {
		case <-d.hurry:
		case <-d.stop:
			return
		}
		_ = d.syncAll(d.take(func(s *onDisk) bool { return len(s.waiting) > 0 })) // who waits is told
	}
}

// commitLater syncs the rest.
func (d *disk) commitLater() {
	tick := time.NewTicker(lazily)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.commitAll()
		case <-d.all:
			d.commitAll()
		case <-d.stop:
			return
		}
	}
}

// commitAll syncs what is dirty, then calls what was waiting for that.
func (d *disk) commitAll() {
	d.mu.Lock()
	later := d.later
	d.later = nil
	d.mu.Unlock()
	err := d.syncAll(d.take(func(s *onDisk) bool { return s.stored > s.synced }))
	if err != nil || d.failure() != nil {
		return
	}
	for _, f := range later {
		f()
	}
}

// group is a stream that is to be synced, with those who wait for it.
type group struct {
	*onDisk

	waiting []chan error
}

func (d *disk) take(which func(*onDisk) bool) []group {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []group
	for _, s := range d.streams {
		if which(s) {
			out = append(out, group{s, s.waiting})
			s.waiting = nil
		}
	}
	return out
}

// syncAll syncs streams side by side: the file system commits them together.
func (d *disk) syncAll(groups []group) error {
	var g errgroup.Group
	for _, s := range groups {
		g.Go(func() error {
			err := d.syncStream(s.onDisk)
			for _, done := range s.waiting {
				done <- err
			}
			return err
		})
	}
	return g.Wait()
}

// failure is why nothing is promised any more.
func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// syncStream syncs a stream's last block file, and those that came behind it
// since the last time. A failure is for good: what the kernel could not write it
// may have forgotten.
func (d *disk) syncStream(s *onDisk) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	d.mu.Lock()
	stored, failed := s.stored, d.failed
	done := s.synced == stored
	d.mu.Unlock()
	if failed != nil || done {
		return failed
	}
	err := d.syncBlocks(s)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.failed == nil {
		d.failed = fmt.Errorf("stream %s could not be brought to the disk, and nothing is accepted any more: see to the disk, then start anew: %w", s.name, err)
		close(d.broken)
	}
	if d.failed == nil {
		s.synced = stored
	}
	return d.failed
}

// syncBlocks lists the files each time: several may have come, and some of them
// have been emptied and removed again.
func (d *disk) syncBlocks(s *onDisk) error {
	dir := filepath.Join(d.dir, s.name, "msgs")
	blocks, err := blocksFrom(dir, s.block)
	if err != nil {
		return err
	}
	last := s.block
	for _, n := range blocks {
		if err := d.syncFile(filepath.Join(dir, strconv.FormatUint(n, 10)+blockSuffix), os.O_RDWR); err != nil {
			return err
		}
		last = max(last, n)
	}
	if last > s.block && runtime.GOOS != "windows" { // which can't: there a file's name lasts with the file
		if err := d.syncFile(dir, os.O_RDONLY); err != nil {
			return err
		}
	}
	s.block = last
	return nil
}

// syncFile syncs a file, if it is still there.
func (d *disk) syncFile(name string, mode int) error {
	f, err := os.OpenFile(name, mode, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.sync(f), f.Close())
}

const blockSuffix = ".blk"

// blocksFrom returns the numbers of the block files from a first one on.
func blocksFrom(dir string, first uint64) ([]uint64, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	var out []uint64
	for _, name := range names {
		number, ok := strings.CutSuffix(name, blockSuffix)
		if n, nerr := strconv.ParseUint(number, 10, 64); ok && nerr == nil && n >= first {
			out = append(out, n)
		}
	}
	return out, errors.Join(err, f.Close())
}
