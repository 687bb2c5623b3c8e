package apply

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
	"github.com/parleyhq/parley/services/e2e"
	"github.com/parleyhq/parley/services/ops"
)

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}

const (
	appToken = "pat_app_0123456789abcdef0123456789abcdef"
	shop     = `
bots: [{id: pizza, kind: echo}]
channels:
  - id: shop
    botId: pizza
    endpoints:
      - id: crm
        url: %s
        verifyToken: {fromFile: verify}
        timeout: %s
tokens: [{id: app, channelId: shop, value: {fromEnv: APP_TOKEN}}]
`
)

// mount is a directory that changes as a mounted ConfigMap does: all of it at once,
// by a link that is swapped.
type mount struct {
	t   *testing.T
	dir string
	n   int
}

func newMount(t *testing.T, text string) *mount {
	t.Helper()
	m := &mount{t: t, dir: t.TempDir()}
	m.swap(text)
	for _, name := range []string{"parley.yaml", "verify"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
	}
	return m
}

func (m *mount) swap(text string) {
	m.t.Helper()
	m.n++
	data := fmt.Sprintf("..data_%d", m.n)
	require.NoError(m.t, os.Mkdir(filepath.Join(m.dir, data), 0o700))
	for name, text := range map[string]string{"parley.yaml": text, "verify": "verify-me\n"} {
		require.NoError(m.t, os.WriteFile(filepath.Join(m.dir, data, name), []byte(text), 0o600))
	}
	next := filepath.Join(m.dir, "..data_tmp")
	require.NoError(m.t, os.Symlink(data, next))
	require.NoError(m.t, os.Rename(next, filepath.Join(m.dir, "..data")))
}

func (m *mount) add(s *e2e.System) *e2e.Service {
	m.t.Helper()
	return s.Add("serve", "serve", []string{"PARLEY_ALLOW_CIDRS=127.0.0.0/8", "PARLEY_ALLOW_PORTS=any", "APP_TOKEN=" + appToken},
		"--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", filepath.Join(m.t.TempDir(), "data"),
		"--apply", m.dir, "--apply-prune")
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			require.FailNow(t, "waited too long for "+what)
		case <-tick.C:
		}
	}
}

// What is mounted is there when the process is ready, follows the file, and stays
// where the file is wrong.
func TestMounted(t *testing.T) {
	receiver := webhooktest.New(t)
	m := newMount(t, fmt.Sprintf(shop, receiver.URL(), "5s"))
	s := e2e.NewSystem(t, binaries)
	serve := m.add(s)
	serve.Start()
	await(t, "readiness", func() bool { return ready(t, s) })
	out := binaries.Run(t, nil, "send", "--url", s.PublicURL(), "--channel", "shop", "--token", appToken, "--conversation", "ann", "hello")
	require.Contains(t, out, "msg_")
	s.AwaitIdle()
	require.Len(t, receiver.Conversation("ann"), 1)

	timeout := func() string {
		e, err := s.Endpoint(t.Context(), "crm")
		if err != nil {
			return err.Error()
		}
		return e.Timeout
	}
	require.Equal(t, "5s", timeout())
	m.swap(fmt.Sprintf(shop, receiver.URL(), "for ever"))
	await(t, "the error", func() bool { return serve.Says("parley.yaml:10:18: ") })
	require.Equal(t, "5s", timeout())
	m.swap(fmt.Sprintf(shop, receiver.URL(), "9s"))
	await(t, "the change", func() bool { return timeout() == "9s" })
	m.swap("bots: [{id: pizza, kind: echo}]\n")
	await(t, "the endpoint to go", func() bool { return timeout() != "9s" })

	var page ops.AuditPage
	s.Read(&page, "audit", "list", "--by", "apply", "--object", "crm")
	actions := make([]string, len(page.Items))
	for i, e := range page.Items {
		actions[i] = e.Action
	}
	require.Equal(t, []string{"endpoint.delete", "endpoint.put", "endpoint.put"}, actions)
}

func ready(t *testing.T, s *e2e.System) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.AdminURL()+"/readyz", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// A file that is wrong at the start is told of, and nothing starts.
func TestMountedIsWrongAtTheStart(t *testing.T) {
	m := newMount(t, "bots: [{id: pizza, kind: magic}]\n")
	serve := m.add(e2e.NewSystem(t, binaries))
	serve.Launch()
	await(t, "the end", func() bool { return !serve.Running() })
	require.True(t, serve.Says(`parley.yaml:1:26: "magic" is no kind of bot`), serve.Tail())
	require.False(t, serve.Ready())
}
