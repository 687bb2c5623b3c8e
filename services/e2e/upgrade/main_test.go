package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/services/e2e"
)

// envFrom names the revision that is upgraded from; not set: the commit before
// this one.
const envFrom = "PARLEY_UPGRADE_FROM"

// The binaries of both versions are built once for all tests.
var before, after *e2e.Binaries

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "parley-upgrade-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var failed error
	err = e2e.Main(m, func(b *e2e.Binaries) {
		after = b
		if before, failed = buildBefore(context.Background(), b, dir); failed != nil {
			panic(failed)
		}
	})
	if err != nil {
		panic(err)
	}
}

// buildBefore builds the version that is upgraded from.
func buildBefore(ctx context.Context, b *e2e.Binaries, dir string) (*e2e.Binaries, error) {
	from := os.Getenv(envFrom)
	if from == "" {
		from = "HEAD~1"
	}
	sources := filepath.Join(dir, "sources") + string(filepath.Separator)
	if err := checkOut(ctx, from, sources, filepath.Join(dir, "index")); err != nil {
		return nil, err
	}
	return b.BuildOther(ctx, sources, "before", filepath.Join(dir, "parley"))
}

// checkOut writes a revision's files into a directory, and nothing into the
// repository: the index is a file of its own.
func checkOut(ctx context.Context, revision, dir, index string) error {
	root, err := git(ctx, "", "", "rev-parse", "--show-toplevel")
	if err != nil {
		return fmt.Errorf("the version to upgrade from is built out of the git repository, which the tests need: %w", err)
	}
	commit, err := git(ctx, root, "", "rev-parse", "--verify", "--quiet", revision+"^{commit}")
	if err != nil {
		if shallow, _ := git(ctx, root, "", "rev-parse", "--is-shallow-repository"); shallow == "true" {
			return fmt.Errorf("revision %s is not in this shallow clone: fetch more (git fetch --unshallow), or name one that is in %s", revision, envFrom)
		}
		return fmt.Errorf("there is no revision %s: name one in %s", revision, envFrom)
	}
	if _, err = git(ctx, root, index, "read-tree", commit); err != nil {
		return err
	}
	_, err = git(ctx, root, index, "checkout-index", "--all", "--prefix="+dir)
	return err
}

// git runs a command in a directory, with an index of its own unless that is
// empty, and returns what it printed.
func git(ctx context.Context, dir, index string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, os.Environ()
	if index != "" {
		cmd.Env = append(cmd.Env, "GIT_INDEX_FILE="+index)
	}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("git %s: %w: %s", args[0], err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
