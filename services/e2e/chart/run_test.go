package chart

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// secrets are those of an example that leaves them to a Secret of one's own.
var secrets = map[string]string{
	"seal-key":  "Zm9yLWxvY2FsLXVzZS1vbmx5LW5vdC1hLXNlY3JldCE=",
	"ops-token": "local-use-only-ops-token",
}

// Each service runs with the arguments, the environment and the files that its
// container gets, as a process; its probes answer, and the autoscaler finds its
// number. What differs is what a container has for itself: addresses,
// directories, and stores that are one small server.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	for _, name := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{
				t: t, all: render(t, name), system: e2e.NewSystem(t, binaries),
				redis: e2e.StartRedis(t).URL, nats: e2e.StartNATS(t, binaries).URL,
			}
			for _, d := range r.all.kind("Deployment") {
				r.start(d)
			}
			require.Len(t, r.system.Services, len(services))
			for _, o := range r.all.kind("ScaledObject") {
				r.ask(o)
			}
			for _, s := range services {
				r.system.Services[s].Stop()
			}
		})
	}
}

type rig struct {
	t           *testing.T
	all         objects
	system      *e2e.System
	redis, nats string // their URLs
}

// start runs a deployment's container.
func (r *rig) start(d *object) {
	r.t.Helper()
	pod, _ := d.pod()
	c := pod.Containers[0]
	root := r.mount(pod, c)
	var paths []string
	for _, m := range c.VolumeMounts {
		paths = append(paths, m.MountPath, filepath.Join(root, m.MountPath))
	}
	inside := strings.NewReplacer(paths...)
	env := []string{"PARLEY_STORE_MAX=2GiB", "PARLEY_REPLICAS=1"} // what a small server has
	for _, e := range c.Env {
		env = append(env, e.Name+"="+inside.Replace(e.Value))
	}
	var args []string
	for _, a := range c.Args[1:] {
		args = append(args, inside.Replace(a))
	}
	s := r.system.Add(c.Args[0], c.Args[0], env, args...)
	s.Start()
	require.NotContains(r.t, s.Tail(), "parley: warning", "every variable is a flag")
	for _, p := range []*probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		require.Equal(r.t, "admin", p.HTTPGet.Port)
		require.EventuallyWithT(r.t, func(c *assert.CollectT) {
			status, body := r.get(s.At.AdminURL+p.HTTPGet.Path, "")
			assert.Equal(c, http.StatusOK, status, body)
		}, time.Minute, 10*time.Millisecond, "%s of %s", p.HTTPGet.Path, d.Metadata.Name)
	}
}

// mount writes the volumes of a container below a directory.
func (r *rig) mount(pod podSpec, c container) string {
	r.t.Helper()
	root := r.t.TempDir()
	for _, m := range c.VolumeMounts {
		dir := filepath.Join(root, m.MountPath)
		require.NoError(r.t, os.MkdirAll(dir, 0o700))
		for _, v := range pod.Volumes {
			if v.Name != m.Name {
				continue
			}
			for name, content := range r.content(v) {
				require.NoError(r.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o400))
			}
		}
	}
	return root
}

// content is what a volume's files hold.
func (r *rig) content(v volume) map[string]string {
	r.t.Helper()
	files := map[string]string{}
	if v.ConfigMap.Name != "" {
		for name, text := range r.all.get(r.t, "ConfigMap", v.ConfigMap.Name).Data {
			files[name] = regexp.MustCompile(`(addr: ):80[0-9]{2}`).ReplaceAllString(text, "${1}127.0.0.1:0")
			require.NotEqual(r.t, text, files[name])
		}
	}
	for _, item := range v.Secret.Items {
		switch item.Key {
		case "nats-url":
			files[item.Path] = r.nats
		case "redis-url":
			files[item.Path] = r.redis
		default:
			files[item.Path] = r.secret(v.Secret.SecretName, item.Key)
		}
	}
	return files
}

func (r *rig) secret(name, key string) string {
	r.t.Helper()
	for _, o := range r.all.kind("Secret") {
		if o.Metadata.Name == name {
			require.Contains(r.t, o.StringData, key)
			return o.StringData[key]
		}
	}
	require.Contains(r.t, secrets, key, "the Secret %s is one's own", name)
	return secrets[key]
}

// ask does what the autoscaler does: it takes a number out of what a URL
// answers, and fails where there is none.
func (r *rig) ask(o *object) {
	r.t.Helper()
	trigger := o.Spec.Triggers[0]
	require.Equal(r.t, "metrics-api", trigger.Type)
	require.Equal(r.t, "bearer", trigger.Metadata["authMode"])
	at, err := url.Parse(trigger.Metadata["url"])
	require.NoError(r.t, err)
	host, _, _ := strings.Cut(at.Hostname(), ".")
	service := r.all.get(r.t, "Service", host)
	require.Equal(r.t, "ops", service.Metadata.Labels[component])
	require.Equal(r.t, at.Port(), "8081")

	ref := r.all.get(r.t, "TriggerAuthentication", trigger.AuthenticationRef.Name).Spec.SecretTargetRef[0]
	require.Equal(r.t, "token", ref.Parameter)
	token := secrets["ops-token"] // of a Secret of one's own
	if len(r.all.kind("Secret")) > 0 {
		token = r.secret(ref.Name, ref.Key)
	}
	status, body := r.get(r.system.AdminURL()+at.Path, token)
	require.Equal(r.t, http.StatusOK, status, body)
	var value any
	require.NoError(r.t, json.Unmarshal([]byte(body), &value))
	for key := range strings.SplitSeq(trigger.Metadata["valueLocation"], ".") {
		fields, _ := value.(map[string]any)
		require.Contains(r.t, fields, key)
		value = fields[key]
	}
	require.IsType(r.t, float64(0), value)
}

func (r *rig) get(url, token string) (status int, body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(r.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, string(data)
}
