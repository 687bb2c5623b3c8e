package bench

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"
)

const redisName = "redis"

// redisTries is how often a redis-server is started: another process may take
// the port that was found free.
const redisTries = 3

// startRedis starts a redis-server of the run's own, which keeps nothing.
func (f *field) startRedis(ctx context.Context) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("--redis starts a redis-server: install one, or give the --redis-url of one that runs: %w", err)
	}
	for range redisTries {
		if err = f.tryRedis(ctx, path); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (f *field) tryRedis(ctx context.Context, path string) error {
	addr, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	c, err := spawn(ctx, f.dir, redisName, path, "--bind", "127.0.0.1", "--port", port, "--dir", f.dir, "--save", "", "--appendonly", "no")
	if err != nil {
		return err
	}
	f.children = append(f.children, c)
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("redis-server did not answer within %s", readyWithin))
	defer cancel()
	if err := poll(ctx, 10*time.Millisecond, func() (bool, error) { return pings(ctx, addr), c.alive() }); err != nil {
		return err
	}
	f.redis, f.redisURL = c, "redis://"+addr+"/0"
	return nil
}

// freeAddr is an address of loopback that nobody listens at.
func freeAddr(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// pings reports whether a Redis answers.
func pings(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 5)
	n, _ := conn.Read(answer) // what came counts
	return string(answer[:n]) == "+PONG"
}
