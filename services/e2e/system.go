package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/parley/ready"
)

// Topology is a way to run Parley.
type Topology struct {
	Name  string
	Start func(t testing.TB, binaries *Binaries) *System
}

// Topologies are the ways that must be the same to everybody outside.
func Topologies() []Topology {
	return []Topology{
		{"serve", StartServe},
		{"serve with Redis", StartServeWithRedis},
		{"four processes", StartFourProcesses},
	}
}

// System is a running Parley.
type System struct {
	t        testing.TB
	binaries *Binaries

	// Services are the processes by their command.
	Services map[string]*Service
	NATS     *NATS  // nil where it is embedded
	Redis    *Redis // nil where there is none
}

// Service is a process of Parley.
type Service struct {
	*Process
	At        ready.File // where it listens
	ReadyFile string     // says so while it runs, once it is ready
}

// bootstrapToken is the bootstrap token of the services that run as processes.
const bootstrapToken = "e2e-ops-token-e2e-ops-token-e2e-ops-token"

// guard lets endpoints on this machine through.
func guard() []string {
	return []string{"PARLEY_ALLOW_CIDRS=127.0.0.0/8", "PARLEY_ALLOW_PORTS=any"}
}

// StartServe starts everything in one process, without Redis.
func StartServe(t testing.TB, binaries *Binaries) *System {
	t.Helper()
	s := NewSystem(t, binaries)
	s.startServe()
	return s
}

// StartServeWithRedis starts everything in one process beside a Redis.
func StartServeWithRedis(t testing.TB, binaries *Binaries) *System {
	t.Helper()
	s := NewSystem(t, binaries)
	s.Redis = StartRedis(t)
	s.startServe("--redis-url", s.Redis.URL)
	return s
}

func (s *System) startServe(args ...string) {
	s.t.Helper()
	s.start("serve", guard(), append([]string{
		"--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", filepath.Join(s.t.TempDir(), "data"),
	}, args...)...)
}

// StartFourProcesses starts the services as processes, on a NATS and a Redis
// of their own. They get their settings from the environment, as in a
// container.
func StartFourProcesses(t testing.TB, binaries *Binaries) *System {
	t.Helper()
	return StartFourProcessesWith(t, binaries)
}

// StartFourProcessesWith is StartFourProcesses with more in the environment.
func StartFourProcessesWith(t testing.TB, binaries *Binaries, more ...string) *System {
	t.Helper()
	s := NewSystem(t, binaries)
	s.Redis = StartRedis(t)
	s.NATS = StartNATS(t, binaries)
	env := append(Environment(s.NATS.URL, s.Redis.URL), more...)
	for _, command := range []string{"ops", "delivery-worker", "bot-worker", "ingest"} {
		s.start(command, env)
	}
	return s
}

// Environment is the environment of services that run as processes, on these
// stores.
func Environment(natsURL, redisURL string) []string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return append(guard(),
		"PARLEY_NATS_URL="+natsURL,
		"PARLEY_REDIS_URL="+redisURL,
		"PARLEY_PUBLIC_ADDR=127.0.0.1:0",
		"PARLEY_ADMIN_ADDR=127.0.0.1:0",
		"PARLEY_STORE_MAX=2GiB", // of the 4 GB that StartNATS gives
		"PARLEY_SEAL_KEY="+base64.StdEncoding.EncodeToString(key),
		"PARLEY_OPS_TOKEN="+bootstrapToken,
	)
}

// NewSystem makes a system without processes; Add adds them.
func NewSystem(t testing.TB, binaries *Binaries) *System {
	t.Helper()
	return &System{t: t, binaries: binaries, Services: map[string]*Service{}}
}

func (s *System) start(command string, env []string, args ...string) {
	s.t.Helper()
	s.Add(command, command, env, args...).Start()
}

// Add prepares a process that runs a command of parley; it is not started.
func (s *System) Add(name, command string, env []string, args ...string) *Service {
	s.t.Helper()
	readyFile := filepath.Join(s.t.TempDir(), name+".ready")
	args = append([]string{command, "--ready-file", readyFile}, args...)
	p := &Service{Process: NewProcess(s.t, name, s.binaries.Parley, env, args...), ReadyFile: readyFile}
	s.Services[name] = p
	return p
}

// Start starts the service, again if it was stopped or killed, and waits until
// it is ready. Its addresses may be others than before.
func (p *Service) Start() {
	p.t.Helper()
	p.Launch()
	p.AwaitReady()
}

// Launch starts the service and doesn't wait.
func (p *Service) Launch() {
	p.t.Helper()
	if err := os.Remove(p.ReadyFile); !errors.Is(err, fs.ErrNotExist) {
		require.NoError(p.t, err)
	}
	p.Process.Start()
}

// Ready reports whether a launched service has said that it is ready.
func (p *Service) Ready() bool {
	_, err := os.Stat(p.ReadyFile)
	return err == nil
}

// AwaitReady waits until a launched service is ready.
func (p *Service) AwaitReady() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), ReadyWithin)
	defer cancel()
	at, err := ready.Wait(ctx, p.ReadyFile, p.exited)
	require.NoError(p.t, err, "%s should be ready", p.name)
	require.Equal(p.t, p.PID(), at.PID)
	p.At = at
}

// PublicURL is where user messages go.
func (s *System) PublicURL() string { return s.service("ingest").At.PublicURL }

// AdminURL is where the ops API is.
func (s *System) AdminURL() string { return s.service("ops").At.AdminURL }

// OpsToken opens the ops API.
func (s *System) OpsToken() string {
	if t := s.service("ops").At.OpsToken; t != "" {
		return t
	}
	return bootstrapToken
}

func (s *System) service(command string) *Service {
	if serve, ok := s.Services["serve"]; ok {
		return serve
	}
	return s.Services[command]
}

// Parley runs a command of the binary against the system, requires that it
// succeeds, and returns what it printed.
func (s *System) Parley(args ...string) string {
	s.t.Helper()
	return s.binaries.Run(s.t, s.opsEnv(), args...)
}

// Use has the system's commands run by other binaries from now on.
func (s *System) Use(binaries *Binaries) { s.binaries = binaries }

// Refused runs a command of the binary against the system, requires that it
// fails, and returns its errors.
func (s *System) Refused(args ...string) string {
	s.t.Helper()
	return s.binaries.Fail(s.t, s.opsEnv(), args...)
}

// opsEnv tells the commands where the ops API is.
func (s *System) opsEnv() []string {
	return []string{"PARLEY_OPS_URL=" + s.AdminURL(), "PARLEY_OPS_TOKEN=" + s.OpsToken()}
}

// StartPlain starts everything in one process, beside a Redis or without.
func StartPlain(t testing.TB, binaries *Binaries, redis bool, args ...string) *System {
	t.Helper()
	s := NewSystem(t, binaries)
	if redis {
		s.Redis = StartRedis(t)
		args = append(args, "--redis-url", s.Redis.URL)
	}
	s.startServe(args...)
	return s
}
