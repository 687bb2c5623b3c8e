package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

const shopYAML = `owner: shop
bots:
  - id: pizza
    kind: flow
    flow: {fromFile: flows/pizza.yaml}
channels:
  - id: shop
    botId: pizza
    endpoints:
      - id: billing
        url: https://example.com/hook
        verifyToken: {fromEnv: TEST_VERIFY_TOKEN}
        timeout: 5s
        headers:
          X-Key: {fromFile: key}
tokens:
  - id: app
    channelId: shop
`

// declare writes files beside each other and returns the first one's path.
func declare(t *testing.T, text string, beside map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "parley.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	for name, text := range beside {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return path
}

func shopFile(t *testing.T) string {
	t.Helper()
	t.Setenv("TEST_VERIFY_TOKEN", "verify-me")
	flow, err := os.ReadFile("../../deploy/samples/pizza.yaml")
	require.NoError(t, err)
	return declare(t, shopYAML, map[string]string{"flows/pizza.yaml": string(flow), "key": "key-value\n"})
}

func TestApply(t *testing.T) {
	env, _ := opsServer(t)
	path := shopFile(t)
	apply := func(more ...string) string { return good(t, env, append([]string{"apply", "-f", path}, more...)...) }

	plan := apply("--dry-run")
	require.Contains(t, plan, "+ create bot pizza\n")
	require.Contains(t, plan, "    timeout: 5s\n")
	require.Contains(t, plan, "4 to change, 0 as declared")
	differing := parley(t, env, "", "apply", "-f", path, "--diff")
	require.Equal(t, exitDiffers, differing.code)
	require.Contains(t, differing.stderr, "4 objects are not as declared")

	done := apply()
	require.Regexp(t, `signing secret of endpoint billing +whsec_\S+  \(keep it`, done)
	require.Regexp(t, `token app +pat_app_\S+  \(keep it`, done)
	require.Contains(t, done, "4 changed (revision ")
	require.Equal(t, "0 to change, 4 as declared\n", apply())
	require.Equal(t, "0 to change, 4 as declared\n", apply("--diff"))
	e := goodJSON[ops.Endpoint](t, env, "endpoint", "show", "billing")
	require.Equal(t, "shop", e.ManagedBy)

	t.Setenv("TEST_VERIFY_TOKEN", "another")
	plan = apply("--dry-run")
	require.Contains(t, plan, "~ update endpoint billing\n    verifyToken: another secret\n1 to change, 3 as declared\n")
	require.NotContains(t, plan, "verify-me")
	json := goodJSON[ops.Applied](t, env, "apply", "-f", path)
	require.Len(t, json.Changes, 1)
	require.True(t, json.Changes[0].Done)

	smaller := parley(t, env, "owner: shop\nbots: [{id: pizza, kind: echo}]\n", "apply", "-f", "-", "--prune", "owned")
	require.Equal(t, exitOK, smaller.code, smaller.stderr)
	require.Contains(t, smaller.stdout, "~ update bot pizza\n    flow: sha256:")
	require.Contains(t, smaller.stdout, "- delete endpoint billing\n- delete token app\n- delete channel shop\n")
}

// Everything that is wrong is said at once, with its place.
func TestApplyNamesThePlaces(t *testing.T) {
	env, _ := opsServer(t)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"keys": {"botz: []\nchannels:\n  - id: shop\n    botid: x\n    paused: because\n    endpoints:\n      - channelId: x\n", []string{
			`:1:1: "botz" is unknown here: did you mean bots?; there are bots, channels, owner, tokens`,
			`:4:5: "botid" is unknown here: did you mean botId?; there are botId, conversationLimit, endpoints, id, limit, name`,
			":5:5: paused can't be declared: ",
			`:7:9: "channelId" is unknown here; there are auth, disableAfter, `,
		}},
		"types": {"bots:\n  - {id: a, kind: [], maxInFlight: many, v1a: 1, retry: 1s, headers: []}\n  - id: b\n    id: b\n    name:\n", []string{
			":2:19: this must be a text", ":2:36: this must be a whole number", ":2:47: this must be true or false", ":2:57: this must be a list",
			":2:70: this must be a mapping", ":4:5: id stands there twice", ":5:10: name has no value",
		}},
		"sources": {"bots:\n  - {id: a, name: {fromEnv: TEST_NONE}, flow: {fromFile: none.yaml}, url: {from: x}}\n", []string{
			":2:29: the environment has no TEST_NONE: set it", "none.yaml: no such file", `:2:76: "from" is unknown here: use fromEnv or fromFile`,
		}},
		"alias":  {"bots: [&x {id: a, kind: echo}, *x]\n", []string{":1:32: aliases (*x) are not supported"}},
		"owners": {"owner: a\n---\nowner: b\n", []string{`:3:1: the owner is "b", and "a" before`}},
		"syntax": {"bots: [\n", []string{"parley.yaml: "}},
		"flow":   {"bots:\n  - {id: a, kind: flow, flow: {fromFile: bad.yaml}}\n", []string{"bad.yaml: line 1, column 1: "}},
		"of the API": {"bots: [{id: a, kind: echo}]\n---\nbots:\n  - id: b\n    kind: http\n    url: /x\nchannels:\n  - id: c\n    botId: none\n    endpoints: [{url: https://example.com}]\n", []string{
			":6:10: the URL can't be used", `:9:12: there is no bot "none"`, ":10:17: id: the endpoint's id is missing",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := parley(t, env, "", "apply", "-f", declare(t, c.text, map[string]string{"bad.yaml": "intro: x\n"}))
			require.Equal(t, exitFailed, got.code)
			for _, want := range c.want {
				require.Contains(t, got.stderr, want)
			}
			require.Len(t, strings.Split(strings.TrimSpace(got.stderr), "\n"), 1+max(len(c.want), strings.Count(got.stderr, "bad.yaml: ")), got.stderr)
		})
	}
	require.Contains(t, parley(t, env, "", "apply", "-f", t.TempDir()).stderr, "has no .yaml or .yml file")
}

// A directory is all of its YAML files, also where they are links, as those of a
// mounted ConfigMap are.
func TestApplyTakesADirectory(t *testing.T) {
	env, _ := opsServer(t)
	real := filepath.Dir(declare(t, "bots: [{id: a, kind: echo}]\n", map[string]string{"more.yml": "bots: [{id: b, kind: echo}]\n", "notes.txt": "x"}))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(real, filepath.Join(dir, "..data")))
	for _, name := range []string{"parley.yaml", "more.yml", "notes.txt"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	require.Contains(t, good(t, env, "apply", "-f", dir), "2 changed")
	require.Regexp(t, `(?m)^a +echo`, good(t, env, "bot", "list"))
}

// mountedFile is a mounted declaration whose applier is told to answer.
type mountedFile struct {
	*mounted
	path string
	got  []ops.ApplyRequest
	err  error
	said ops.Applied
}

func mount(t *testing.T, text string) *mountedFile {
	t.Helper()
	f := &mountedFile{path: declare(t, text, nil)}
	f.mounted = newMounted([]string{f.path}, zap.NewNop(), prometheus.NewRegistry())
	f.apply = func(_ context.Context, r ops.ApplyRequest) (*ops.Applied, error) {
		f.got = append(f.got, r)
		return &f.said, f.err
	}
	return f
}

func (f *mountedFile) write(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(f.path, []byte(text), 0o600))
}

// A mounted file is applied when it changes, and what fails is told.
func TestMounted(t *testing.T) {
	const one, two = "bots: [{id: one, kind: echo}]\n", "bots: [{id: two, kind: echo}]\n"
	f := mount(t, one)
	invalid := &chat.ValidationError{Problems: []chat.Problem{{Pointer: "/bots/0/kind", Detail: "no"}}}
	for _, step := range []struct {
		what   string
		do     func()
		calls  int // so far
		behind float64
	}{
		{"at first", func() {}, 1, 0},
		{"unchanged", func() {}, 1, 0},
		{"can't be read", func() { f.write(t, "bots: {") }, 1, 1},
		{"as before", func() { f.write(t, one) }, 1, 0},
		{"the broker is away", func() { f.write(t, two); f.err = context.DeadlineExceeded }, 2, 1},
		{"still", func() {}, 3, 1},
		{"a change failed", func() { f.err, f.said.Error = nil, "full" }, 4, 1},
		{"it is back", func() { f.said.Error = "" }, 5, 0},
		{"invalid", func() { f.write(t, one); f.err = invalid }, 6, 1},
		{"invalid is not tried again", func() {}, 6, 1},
		{"taken back", func() { f.write(t, two); f.err = nil }, 7, 0},
	} {
		step.do()
		f.look(t.Context())
		require.Len(t, f.got, step.calls, step.what)
		require.InDelta(t, step.behind, testutil.ToFloat64(f.behind), 0, step.what)
		require.True(t, f.got[0].Unseen)
		require.Empty(t, f.got[0].Prune)
	}
	require.InDelta(t, 3, testutil.ToFloat64(f.runs.WithLabelValues(runUnchanged)), 0)
	require.InDelta(t, 5, testutil.ToFloat64(f.runs.WithLabelValues(runFailed)), 0)
}
