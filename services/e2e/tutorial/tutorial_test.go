package tutorial

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}

// within bounds the wait for what the page shows.
const within = time.Minute

// reader follows the page: a directory, a shell, and terminals by their names.
type reader struct {
	t         *testing.T
	dir       string
	env       []string
	terminals map[string]*terminal
}

type terminal struct {
	*e2e.Process
	read int // bytes of its masked output that the page has shown
}

// public is where messages come in.
const public = "127.0.0.1:8080"

// ports are the page's, and the flags whose defaults they are.
var ports = []struct {
	addr string
	env  map[string]string
}{
	{public, map[string]string{"PARLEY_PUBLIC_ADDR": ""}},
	{"127.0.0.1:8081", map[string]string{"PARLEY_ADMIN_ADDR": "", "PARLEY_OPS_URL": "http://"}},
	{"127.0.0.1:8090", nil},
	{"127.0.0.1:9000", map[string]string{"PARLEY_ADDR": ""}},
}

// TestTutorial is the page, at ports of its own, since other tests run beside it.
func TestTutorial(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed: install it to run this test")
		}
	}
	raw, err := os.ReadFile("../../../docs/tutorial.md")
	require.NoError(t, err)
	page := string(raw)
	r := &reader{t: t, dir: t.TempDir(), terminals: map[string]*terminal{}}
	r.env = []string{
		"PATH=" + filepath.Dir(binaries.Parley) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"XDG_STATE_HOME=" + t.TempDir(),
	}
	used := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(page, -1)
	// Of send alone: a PARLEY_URL would be that of endpoints and bots too.
	page = strings.ReplaceAll(page, "parley send ", "parley send --url http://"+public+" ")
	for i, port := range e2e.FreePorts(t, len(ports)) {
		require.Contains(t, used, ports[i].addr, "an address that the page doesn't have")
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		page = strings.ReplaceAll(page, ports[i].addr, addr)
		for key, scheme := range ports[i].env {
			r.env = append(r.env, key+"="+scheme+addr)
		}
	}
	blocks, err := read(page)
	require.NoError(t, err)
	require.NotEmpty(t, blocks)
	for i, b := range blocks {
		var shown *block
		if next := i + 1; next < len(blocks) && blocks[next].language == "text" && blocks[next].terminal == "" {
			shown = &blocks[next]
		}
		r.follow(b, shown)
	}
}

// follow does what a block says. shown is what it must print, nil for anything.
func (r *reader) follow(b block, shown *block) {
	r.t.Helper()
	at := fmt.Sprintf("docs/tutorial.md:%d", b.line)
	switch {
	case b.file != "":
		require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, b.file), []byte(b.text), 0o600), at)
	case b.language == "text" && b.terminal != "":
		term := r.terminals[b.terminal]
		require.NotNil(r.t, term, "%s: the page has opened no terminal %q", at, b.terminal)
		r.await(at, b.text, term.next)
	case b.language == "sh" && b.terminal != "":
		if old := r.terminals[b.terminal]; old != nil {
			old.Stop()
		}
		p := e2e.NewProcess(r.t, b.terminal, "bash", r.env, "-c", `cd "$0" && exec `+b.text, r.dir)
		p.Start()
		term := &terminal{Process: p}
		r.terminals[b.terminal] = term
		if shown != nil {
			r.await(at, shown.text, term.next)
		}
	case b.wait:
		require.NotNil(r.t, shown, "%s waits for an output that the page doesn't show", at)
		r.await(at, shown.text, func(expected *regexp.Regexp) (string, bool) {
			printed := r.run(at, b.text)
			return printed, whole(expected, printed)
		})
	case b.language == "sh":
		printed := r.run(at, b.text)
		if shown != nil {
			require.True(r.t, whole(expect(shown.text), printed), "%s prints\n%s\nand should\n%s", at, printed, masked(shown.text))
		}
	}
}

// run runs commands to their end and returns what they print, masked.
func (r *reader) run(at, commands string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	others := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PARLEY_") })
	cmd.Dir, cmd.Env = r.dir, append(others, r.env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(r.t, err, "%s: %s\n%s%s", at, commands, out, errs.String())
	return masked(string(out))
}

// await looks again until what is printed is what the page shows.
func (r *reader) await(at, shown string, look func(*regexp.Regexp) (string, bool)) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for expected := expect(shown); ; {
		printed, ok := look(expected)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			require.FailNow(r.t, "the page shows something else", "%s: after %s it is\n%s\nand should be\n%s", at, within, printed, masked(shown))
		case <-tick.C:
		}
	}
}

// next reads on in the terminal, if what comes is what is expected.
func (t *terminal) next(expected *regexp.Regexp) (string, bool) {
	rest := masked(t.Tail())[t.read:]
	found := expected.FindString(rest)
	t.read += len(found)
	return rest, found != ""
}

func whole(expected *regexp.Regexp, printed string) bool {
	return len(expected.FindString(printed)) == len(printed)
}
