package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Binaries are the programs that the tests run, built from this module.
type Binaries struct {
	Parley string
	NATS   string // nats-server, the version that is embedded too
	Bot    string // the sample of an http bot
}

// Build builds the programs into a directory.
func Build(ctx context.Context, dir string) (*Binaries, error) {
	b := &Binaries{Parley: filepath.Join(dir, "parley"), NATS: filepath.Join(dir, "nats-server"), Bot: filepath.Join(dir, "httpbot")}
	for path, pkg := range map[string]string{
		b.Parley: parley,
		b.NATS:   "github.com/nats-io/nats-server/v2",
		b.Bot:    "github.com/parleyhq/parley/deploy/samples/httpbot",
	} {
		if err := build(ctx, "", "e2e", path, pkg); err != nil {
			return nil, err
		}
	}
	return b, nil
}

const parley = "github.com/parleyhq/parley/services/parley"

// BuildOther builds parley out of other sources, with a version that it says.
func (b *Binaries) BuildOther(ctx context.Context, sources, version, path string) (*Binaries, error) {
	other := &Binaries{Parley: path, NATS: b.NATS, Bot: b.Bot}
	return other, build(ctx, sources, version, path, parley)
}

// build builds a program as make build does: wherever the sources are, what was
// compiled once is not compiled again.
func build(ctx context.Context, sources, version, path, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version="+version, "-o", path, pkg)
	cmd.Dir = sources
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// readSources opens every directory that the programs are built from. Go's test
// cache notes what a test opens, and so runs the tests again when a program has
// changed, of which it knows nothing else.
var readSources = sync.OnceValue(func() error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("finding the module: %w", err)
	}
	for _, dir := range []string{"deploy", "pkg", "proto", "services"} {
		err := filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), dir), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return fmt.Errorf("reading %s: %w", dir, err)
		}
	}
	return nil
})

func sources(t testing.TB) {
	t.Helper()
	require.NoError(t, readSources())
}

// Run runs a command of parley that ends by itself, requires that it succeeds,
// and returns what it printed.
func (b *Binaries) Run(t testing.TB, env []string, args ...string) string {
	t.Helper()
	out, errs, err := b.run(t, env, args...)
	require.NoError(t, err, "parley %v\n%s\n%s", args, out, errs)
	return out
}

// Fail runs a command of parley, requires that it fails, and returns its errors.
func (b *Binaries) Fail(t testing.TB, env []string, args ...string) string {
	t.Helper()
	out, errs, err := b.run(t, env, args...)
	require.Error(t, err, "parley %v\n%s\n%s", args, out, errs)
	return errs
}

func (b *Binaries) run(t testing.TB, env []string, args ...string) (out, errs string, err error) {
	t.Helper()
	sources(t)
	cmd := exec.CommandContext(t.Context(), b.Parley, args...)
	cmd.Env = append([]string{"HOME=" + t.TempDir()}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// RedisServer finds redis-server. Where there is none the test is skipped; CI
// fails on that.
func RedisServer(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: install it to run this test")
	}
	return path
}

// Main is the body of TestMain: it builds, runs the tests, and cleans up.
func Main(m *testing.M, built func(*Binaries)) error {
	dir, err := os.MkdirTemp("", "parley-e2e-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := Build(context.Background(), dir)
	if err != nil {
		return err
	}
	built(b)
	m.Run()
	return nil
}
