package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// ServerOptions configure the embedded server.
type ServerOptions struct {
	// Dir holds the store; one server at a time may use it.
	Dir string
	// MaxStore and MaxMemory bound JetStream, in bytes.
	MaxStore, MaxMemory int64
	// SyncAlways brings what is published to the disk before Publish returns,
	// see Message.Later; else SyncInterval says how much time a power loss may
	// cost. The streams of Unsynced are never waited for.
	SyncAlways   bool
	SyncInterval time.Duration
	Unsynced     []string
	// Listen is an address such as "127.0.0.1:4222" where others may connect;
	// empty: only this process.
	Listen string
}

// Server is an embedded NATS server with JetStream on disk.
type Server struct {
	srv  *server.Server
	lock *flock.Flock
	disk *disk // nil unless it syncs always
}

// ErrLocked means that another process uses the data directory.
var ErrLocked = errors.New("another process uses the data directory: stop it, or choose another --data-dir")

// readyWithin bounds the start; a store of a million messages takes seconds.
const readyWithin = 2 * time.Minute

// StartServer starts the server and waits until it takes connections.
func StartServer(o ServerOptions, log *zap.Logger) (*Server, error) {
	if o.Dir == "" || o.MaxStore <= 0 || o.MaxMemory <= 0 { // the server would take a temporary directory, and most of the disk
		return nil, errors.New("the embedded NATS server needs a directory and limits of its store and memory")
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	// The server itself takes no lock on its store.
	lock := flock.New(filepath.Join(o.Dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", lock.Path(), err)
	}
	if !held {
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrLocked)
	}
	srv, err := newServer(o, log)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	s := &Server{srv: srv, lock: lock}
	if o.SyncAlways {
		s.disk = newDisk(o.Dir, o.Unsynced, (*os.File).Sync)
	}
	return s, nil
}

// compactEvery is how often the server syncs by itself what it has rewritten,
// where everything else is synced before.
const compactEvery = 10 * time.Second

func newServer(o ServerOptions, log *zap.Logger) (*server.Server, error) {
	interval := o.SyncInterval
	if o.SyncAlways {
		interval = compactEvery
	}
	opts := &server.Options{
		ServerName:         "parley",
		JetStream:          true,
		StoreDir:           o.Dir,
		JetStreamMaxStore:  o.MaxStore,
		JetStreamMaxMemory: o.MaxMemory,
		SyncInterval:       interval,
		MaxPayload:         MaxPayload,
		NoSigs:             true,
		DontListen:         o.Listen == "",
	}
	if o.Listen != "" {
		host, port, err := splitAddr(o.Listen)
		if err != nil {
			return nil, err
		}
		opts.Host, opts.Port = host, port
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("the embedded NATS server: %w", err)
	}
	l := serverLog{z: log.Named("nats").Sugar(), fatal: make(chan error, 1)}
	srv.SetLoggerV2(l, false, false, false)
	srv.Start()
	if err := awaitReady(srv, l.fatal); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("the embedded NATS server: %w", err)
	}
	return srv, nil
}

// awaitReady waits until the server takes connections or says that it never
// will.
func awaitReady(srv *server.Server, fatal <-chan error) error {
	const look = 100 * time.Millisecond
	for end := time.Now().Add(readyWithin); time.Now().Before(end); {
		if srv.ReadyForConnections(look) {
			return nil
		}
		select {
		case err := <-fatal:
			return err
		default:
		}
	}
	return fmt.Errorf("it was not ready within %s: its log says why", readyWithin)
}

// MaxPayload is the largest message that the broker takes, in bytes.
const MaxPayload = 1 << 20

// Connect opens an in-process connection.
func (s *Server) Connect(name string, log *zap.Logger) (*Conn, error) {
	return dial("", name, log, s.disk, nats.InProcessServer(s.srv))
}

// ClientURL is where others connect; empty when the server doesn't listen.
func (s *Server) ClientURL() string {
	if s.srv.Addr() == nil {
		return ""
	}
	return s.srv.ClientURL()
}

// Close stops the server and lets go of the data directory. Connections should
// be closed before.
func (s *Server) Close(ctx context.Context) error {
	var unsynced error
	if s.disk != nil {
		unsynced = s.disk.close()
	}
	s.srv.Shutdown()
	done := make(chan struct{})
	go func() {
		s.srv.WaitForShutdown()
		close(done)
	}()
	select {
	case <-done:
		return errors.Join(unsynced, s.lock.Unlock())
	case <-ctx.Done():
		return fmt.Errorf("stopping the embedded NATS server: %w", context.Cause(ctx))
	}
}
