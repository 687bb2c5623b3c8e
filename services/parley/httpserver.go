package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// newServer is a server for the tools' own endpoints, with bounds.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// drainWithin bounds how long an ending server waits for requests under way.
const drainWithin = 5 * time.Second

// serveUntil serves until the context ends, then lets requests under way
// finish.
func serveUntil(ctx context.Context, srv *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), drainWithin, errors.New("requests were still under way"))
	defer cancel()
	err := srv.Shutdown(drain)
	<-failed
	if err != nil {
		return errors.Join(fmt.Errorf("stopping: %w", err), srv.Close())
	}
	return nil
}
