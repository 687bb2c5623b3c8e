package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Options bound a server; a zero takes the default.
type Options struct {
	Addr              string        // host:port; port 0 takes a free one
	ReadHeaderTimeout time.Duration // 5 s
	ReadTimeout       time.Duration // header and body; 30 s
	WriteTimeout      time.Duration // from the end of the header; 60 s
	IdleTimeout       time.Duration // between requests; 2 min
	ShutdownTimeout   time.Duration // to finish what is under way; 10 s
	MaxHeaderBytes    int           // 32 KiB
}

// Validate reports the first setting that can't work.
func (o Options) Validate() error {
	_, port, err := net.SplitHostPort(o.Addr)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // a number, or a name of this machine's
	}
	if err != nil {
		return fmt.Errorf("listen address %q: %w: write it as host:port, such as 127.0.0.1:8080", o.Addr, err)
	}
	for _, d := range []time.Duration{o.ReadHeaderTimeout, o.ReadTimeout, o.WriteTimeout, o.IdleTimeout, o.ShutdownTimeout} {
		if d < 0 {
			return fmt.Errorf("a time-out of the server at %s is %s: set it above 0", o.Addr, d)
		}
	}
	if o.MaxHeaderBytes < 0 {
		return fmt.Errorf("max header bytes is %d: set it above 0", o.MaxHeaderBytes)
	}
	return nil
}

// Server is a bound HTTP server.
type Server struct {
	http     *http.Server
	listener net.Listener
	drain    time.Duration
	log      *zap.Logger
}

// New binds the address. Run must follow: it is what closes the listener.
func New(o Options, handler http.Handler, log *zap.Logger) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w: choose another address or stop what holds it", o.Addr, err)
	}
	std, err := zap.NewStdLogAt(log, zap.DebugLevel) // what clients do to their connections
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &Server{
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: orDefault(o.ReadHeaderTimeout, 5*time.Second),
			ReadTimeout:       orDefault(o.ReadTimeout, 30*time.Second),
			WriteTimeout:      orDefault(o.WriteTimeout, time.Minute),
			IdleTimeout:       orDefault(o.IdleTimeout, 2*time.Minute),
			MaxHeaderBytes:    orDefault(o.MaxHeaderBytes, 32<<10),
			ErrorLog:          std,
		},
		listener: listener,
		drain:    orDefault(o.ShutdownTimeout, 10*time.Second),
		log:      log,
	}, nil
}

// Addr returns the address that is bound, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until the context ends, then takes no new requests, lets those
// under way finish within the shutdown time, and ends the rest. It returns nil
// after a shutdown in time.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	s.log.Info("listening", zap.String("address", s.Addr()))
	select {
	case err := <-served:
		return fmt.Errorf("serving on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	err := s.http.Shutdown(drain)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests on %s were still under way after %s and were cut off: %w", s.Addr(), s.drain, err),
			s.http.Close())
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serving on %s: %w", s.Addr(), end))
	}
	return err
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
