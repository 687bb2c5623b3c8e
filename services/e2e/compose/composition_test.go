package compose

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// notRun are the services that have no program here: their images are the only
// form that they come in.
var notRun = []string{"prometheus", "grafana"}

// composition is the compose file's containers as processes.
type composition struct {
	t          *testing.T
	project    *types.Project
	network    string                // the first three bytes of all addresses
	addresses  map[string]string     // by service: that of its first container
	containers map[string]*container // by name, such as bot-worker-2
}

// container is a process in a container's place.
type container struct {
	*e2e.Process
	c       *composition
	service types.ServiceConfig
	ip      string
	paths   []string // pairs: where a volume is in the container, and here
	env     []string
}

func newComposition(t *testing.T) *composition {
	t.Helper()
	c := &composition{
		t: t, project: mustLoad(t), network: claimNetwork(t),
		addresses: map[string]string{}, containers: map[string]*container{},
	}
	for i, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		service := c.project.Services[name]
		for n := range service.GetScale() {
			one := &container{c: c, service: service, ip: fmt.Sprintf("%s.%d", c.network, 10*(i+1)+n)}
			if n == 0 {
				c.addresses[name] = one.ip
			}
			if !slices.Contains(notRun, name) {
				c.containers[fmt.Sprintf("%s-%d", name, n+1)] = one
			}
		}
	}
	for name, one := range c.containers {
		one.prepare(name)
	}
	return c
}

// claimNetwork finds 254 addresses of loopback that no other run of this test
// has, and holds them until the test ends.
func claimNetwork(t *testing.T) string {
	t.Helper()
	for range 100 {
		network := fmt.Sprintf("127.%d.%d", 64+rand.IntN(128), rand.IntN(256))
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", network+".254:4222")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return network
		}
	}
	require.FailNow(t, "no address of 127.0.0.0/8 is free; systems other than Linux have but 127.0.0.1")
	return ""
}

// up starts the containers as `docker compose up` does: each once those that it
// depends on are healthy.
func (c *composition) up() {
	c.t.Helper()
	healthy := map[string]bool{}
	for len(healthy) < len(c.containers) {
		var next []string
		for name, one := range c.containers {
			if !healthy[name] && one.mayStart(healthy) {
				next = append(next, name)
			}
		}
		require.NotEmpty(c.t, next, "some wait for each other")
		for _, name := range next {
			c.containers[name].Start()
		}
		for _, name := range next {
			c.containers[name].awaitHealthy()
			healthy[name] = true
		}
	}
}

func (o *container) mayStart(healthy map[string]bool) bool {
	for name := range o.service.DependsOn {
		if !healthy[name+"-1"] {
			return false
		}
	}
	return true
}

// down stops the containers, what stands on others first, and requires that each
// ends by itself.
func (c *composition) down() {
	c.t.Helper()
	for _, stores := range []bool{false, true} {
		for _, one := range c.containers {
			if isStore(&one.service) == stores {
				one.Stop()
			}
		}
	}
}

// prepare makes a container's volumes and its process. What an image sets and
// the compose file doesn't is added here: the program, and for Redis where it
// listens and works.
func (o *container) prepare(name string) {
	o.c.t.Helper()
	o.mount()
	for key, value := range o.service.Environment {
		require.NotNil(o.c.t, value, "%s: %s has no value", name, key)
		o.env = append(o.env, key+"="+o.here(*value))
	}
	slices.Sort(o.env)
	var args []string
	for _, arg := range o.service.Command {
		args = append(args, o.here(arg))
	}
	program := binaries.Parley
	switch {
	case strings.HasPrefix(o.service.Image, "nats:"):
		program = binaries.NATS
	case o.service.Name == "redis":
		require.Equal(o.c.t, "redis-server", args[0])
		program = e2e.RedisServer(o.c.t)
		args = append(args[1:], "--bind", o.ip, "--dir", o.here("/data"))
	default:
		require.True(o.c.t, isParley(&o.service), "%s: no program for image %s", name, o.service.Image)
	}
	o.Process = e2e.NewProcess(o.c.t, name, program, o.env, args...)
}

// mount makes a directory of each volume, and a copy of each file that is
// mounted from the repository, as it is for this container.
func (o *container) mount() {
	o.c.t.Helper()
	dir := o.c.t.TempDir()
	files := map[string]string{}
	for i, v := range o.service.Volumes {
		to := filepath.Join(dir, fmt.Sprint(i))
		o.paths = append(o.paths, v.Target, to)
		if v.Type == types.VolumeTypeBind {
			files[v.Source] = to
			continue
		}
		require.NoError(o.c.t, os.Mkdir(to, 0o755))
	}
	for from, to := range files {
		text, err := os.ReadFile(from)
		require.NoError(o.c.t, err)
		require.NoError(o.c.t, os.WriteFile(to, []byte(o.here(string(text))), 0o600))
	}
}

// here turns what is said in a container into what it is here.
func (o *container) here(text string) string {
	if strings.HasPrefix(text, ":") { // listen at all addresses
		text = "0.0.0.0" + text
	}
	text = o.c.here(text)
	return strings.NewReplacer(append([]string{"0.0.0.0", o.ip, "127.0.0.1", o.ip}, o.paths...)...).Replace(text)
}

// here turns names and networks of containers into addresses.
func (c *composition) here(text string) string {
	names := strings.Join(slices.Collect(maps.Keys(c.addresses)), "|")
	text = regexp.MustCompile(`\b(`+names+`)(:\d)`).ReplaceAllStringFunc(text, func(s string) string {
		name, port, _ := strings.Cut(s, ":")
		return c.addresses[name] + ":" + port
	})
	return strings.ReplaceAll(text, c.project.Networks["customers"].Ipam.Config[0].Subnet, c.network+".0/24")
}

// fromHost turns what is said on the machine with the containers into what it is
// here: published ports are those of containers.
func (c *composition) fromHost(text string) string {
	for name, s := range c.project.Services {
		for _, p := range s.Ports {
			text = strings.ReplaceAll(text, p.HostIP+":"+p.Published, fmt.Sprintf("%s:%d", c.addresses[name], p.Target))
		}
	}
	return c.here(text)
}

const (
	healthyWithin = 2 * time.Minute
	arrivesWithin = 2 * time.Minute
	poll          = 50 * time.Millisecond
)

// awaitHealthy waits until the container's health check succeeds.
func (o *container) awaitHealthy() {
	o.c.t.Helper()
	require.Eventually(o.c.t, func() bool {
		if !o.Running() {
			return true
		}
		return o.check().Run() == nil
	}, healthyWithin, poll, "%s is not healthy", o.Name())
	require.True(o.c.t, o.Running(), "%s ended", o.Name())
}

// check is the health check's command, in the container's environment.
func (o *container) check() *exec.Cmd {
	test := o.service.HealthCheck.Test[1:]
	program := test[0]
	if program == "/parley" {
		program = binaries.Parley
	}
	cmd := exec.CommandContext(o.c.t.Context(), program)
	for _, arg := range test[1:] {
		cmd.Args = append(cmd.Args, o.here(arg))
	}
	cmd.Env = o.Env()
	return cmd
}
