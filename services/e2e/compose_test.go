package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

// repository is where this module's files are.
const repository = "../.."

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(repository, "docker-compose.yml")},
		cli.WithEnvFiles(filepath.Join(repository, ".env.example")), cli.WithDotEnv)
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

// The compose file's rules: every version is pinned, every service is watched,
// what must last is on a volume.
func TestComposeFile(t *testing.T) {
	project := loadCompose(t)
	require.ElementsMatch(t, []string{"nats", "redis", "ingest", "bot-worker", "delivery-worker", "ops", "customer"}, project.ServiceNames())
	for name, service := range project.Services {
		requirePinned(t, service.Image)
		require.NotNil(t, service.HealthCheck, "%s has no health check", name)
		require.False(t, service.HealthCheck.Disable, name)
		require.Equal(t, "CMD", service.HealthCheck.Test[0], "%s: an image without a shell can't run anything else", name)
		for _, p := range service.Ports {
			require.Equal(t, "127.0.0.1", p.HostIP, "%s publishes a port to everybody", name)
		}
	}
	for _, store := range []string{"nats", "redis"} {
		require.True(t, slices.ContainsFunc(project.Services[store].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Type == types.VolumeTypeVolume && v.Source != "" && v.Target == "/data"
		}), "%s keeps its data on a volume", store)
	}
	require.Contains(t, strings.Join(project.Services["redis"].Command, " "), "--appendonly yes")
	config, err := os.ReadFile(filepath.Join(repository, "deploy/nats/nats.conf"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^\s*store_dir: /data$`, string(config))
	require.Regexp(t, `(?m)^\s*sync_interval: always$`, string(config))
	for _, name := range parleyServices {
		for _, store := range []string{"nats", "redis"} {
			require.Equal(t, types.ServiceConditionHealthy, project.Services[name].DependsOn[store].Condition, "%s waits for %s", name, store)
		}
	}
}

// requirePinned requires a digest, or a tag that says a version.
func requirePinned(t *testing.T, image string) {
	t.Helper()
	require.Regexp(t, `^[a-z0-9./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?$`, image)
	require.NotContains(t, image, ":latest")
}

// parleyServices are the compose file's services that work on NATS and Redis,
// in the order that they are started in.
var parleyServices = []string{"ops", "delivery-worker", "bot-worker", "ingest"}

// Each service runs as the compose file says, with its exact command and
// environment, as a process instead of in a container. What differs is what a
// container has for itself, names, addresses and directories: each replacement
// stands in newComposition, run, startNATS or startRedis.
func TestCompose(t *testing.T) {
	c := newComposition(t, loadCompose(t))
	c.startRedis()
	c.startNATS()
	c.run("customer", c.customerAddr)
	for _, name := range parleyServices {
		c.run(name, c.adminAddrs[name])
	}

	s := c.system
	s.Parley("bot", "create", "shop", "--kind", "echo")
	s.Parley("channel", "create", "shop", "--bot", "shop")
	environment := c.project.Services["customer"].Environment
	endpoint, err := json.Marshal(ops.Endpoint{
		URL: c.replace.Replace("http://customer:8090/"), VerifyToken: environment["PARLEY_VERIFY_TOKEN"],
		Sending: ops.Sending{Secrets: []string{*environment["PARLEY_SIGNING_SECRET"]}},
	})
	require.NoError(t, err)
	a, err := Post(t.Context(), s.AdminURL()+ops.Root+"/channels/shop/endpoints",
		map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + s.OpsToken()}, endpoint)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, a.Status, string(a.Body))

	token := s.NewToken("shop")
	s.Parley("send", "--url", s.PublicURL(), "--channel", "shop", "--token", token, "--conversation", "anna", "hello from compose")
	customer := c.processes["customer"]
	customer.Await("the delivery in the customer's log", func() bool {
		return strings.Contains(customer.Tail(), "#1 bot < hello from compose") && strings.Contains(customer.Tail(), "* signature verified, conversation anna")
	})
	for _, name := range append(slices.Clone(parleyServices), "customer") {
		c.processes[name].Stop()
	}
}

// composition is the compose file's project as processes.
type composition struct {
	t         *testing.T
	project   *types.Project
	processes map[string]*Process
	system    *System // its ops API

	replace      *strings.Replacer // in commands and environments
	natsAddr     string
	monitorAddr  string
	redisAddr    string
	customerAddr string
	publicAddr   string
	adminAddrs   map[string]string // by service
}

func newComposition(t *testing.T, project *types.Project) *composition {
	t.Helper()
	c := &composition{
		t: t, project: project, processes: map[string]*Process{}, adminAddrs: map[string]string{},
		natsAddr: freeAddr(t), monitorAddr: freeAddr(t), redisAddr: freeAddr(t), customerAddr: freeAddr(t), publicAddr: freeAddr(t),
	}
	for _, name := range parleyServices {
		c.adminAddrs[name] = freeAddr(t)
	}
	_, customerPort, err := net.SplitHostPort(c.customerAddr)
	require.NoError(t, err)
	c.replace = strings.NewReplacer(
		// Names that the containers' DNS resolves.
		"nats:4222", c.natsAddr,
		"redis:6379", c.redisAddr,
		"customer:8090", c.customerAddr,
		// The network that the containers share, and the customer's port there.
		"172.30.83.0/24", "127.0.0.0/8",
		"80,443,8090", "80,443,"+customerPort,
	)
	c.system = NewSystem(t, binaries)
	c.system.Services["ops"] = &Service{}
	c.system.Services["ops"].At.AdminURL = "http://" + c.adminAddrs["ops"]
	c.system.Services["ingest"] = &Service{}
	c.system.Services["ingest"].At.PublicURL = "http://" + c.publicAddr
	c.system.Services["ops"].At.OpsToken = *project.Services["ops"].Environment["PARLEY_OPS_TOKEN"]
	return c
}

// run runs a service of Parley's image and waits until it is healthy by its
// own health check. It listens at addr where in its container it has the port
// for itself.
func (c *composition) run(name, addr string) {
	c.t.Helper()
	service := c.project.Services[name]
	listen := func(s string) string {
		switch s {
		case ":8081", ":8090":
			return addr
		case ":8080":
			return c.publicAddr
		}
		return c.replace.Replace(s)
	}
	var args, env []string
	for _, a := range service.Command {
		args = append(args, listen(a))
	}
	for key, value := range service.Environment {
		require.NotNil(c.t, value, "%s: %s has no value", name, key)
		env = append(env, key+"="+listen(*value))
	}
	p := NewProcess(c.t, name, binaries.Parley, env, args...)
	c.processes[name] = p
	p.Start()

	check := service.HealthCheck.Test
	require.Equal(c.t, []string{"CMD", "/parley"}, []string(check[:2]), name)
	probe := make([]string, len(check)-2)
	for i, a := range check[2:] {
		probe[i] = regexp.MustCompile(`127\.0\.0\.1:(8081|8090)`).ReplaceAllString(a, addr)
	}
	p.Await(name+" to be healthy", func() bool {
		return exec.CommandContext(c.t.Context(), binaries.Parley, probe...).Run() == nil
	})
}

// startNATS runs nats-server with deploy/nats/nats.conf, which the compose file
// mounts; its store and its ports are this test's.
func (c *composition) startNATS() {
	c.t.Helper()
	service := c.project.Services["nats"]
	require.Len(c.t, service.Command, 2)
	mount := slices.IndexFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == service.Command[1] })
	require.GreaterOrEqual(c.t, mount, 0, "the configuration that the command names is mounted")
	config, err := os.ReadFile(service.Volumes[mount].Source)
	require.NoError(c.t, err)
	path := filepath.Join(c.t.TempDir(), "nats.conf")
	for from, to := range map[string]string{
		"port: 4222":       "listen: \"" + c.natsAddr + "\"",
		"127.0.0.1:8222":   c.monitorAddr,
		"store_dir: /data": "store_dir: \"" + c.t.TempDir() + "\"",
	} {
		require.Equal(c.t, 1, bytes.Count(config, []byte(from)), "%q in nats.conf", from)
		config = bytes.ReplaceAll(config, []byte(from), []byte(to))
	}
	require.NoError(c.t, os.WriteFile(path, config, 0o600))
	p := NewProcess(c.t, "nats", binaries.NATS, nil, service.Command[0], path)
	c.processes["nats"] = p
	p.Start()
	check := service.HealthCheck.Test // wget, which need not be here: ask the same
	url := strings.ReplaceAll(check[len(check)-1], "127.0.0.1:8222", c.monitorAddr)
	p.Await("nats to be healthy", func() bool { return answersOK(c.t.Context(), url) })
}

// startRedis runs redis-server with the compose file's command; its directory
// and its port are this test's.
func (c *composition) startRedis() {
	c.t.Helper()
	service := c.project.Services["redis"]
	path := redisServer(c.t)
	require.Equal(c.t, "redis-server", service.Command[0])
	_, port, err := net.SplitHostPort(c.redisAddr)
	require.NoError(c.t, err)
	p := NewProcess(c.t, "redis", path, nil, append(slices.Clone(service.Command[1:]),
		"--bind", "127.0.0.1", "--port", port, "--dir", c.t.TempDir())...)
	c.processes["redis"] = p
	p.Start()
	require.Equal(c.t, []string{"CMD", "redis-cli", "-e", "ping"}, []string(service.HealthCheck.Test))
	p.Await("redis to be healthy", func() bool { return (&Redis{Addr: c.redisAddr}).Answers(c.t.Context()) })
}

func answersOK(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode == http.StatusOK
}
