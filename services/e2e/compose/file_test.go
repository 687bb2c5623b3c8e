package compose

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/stretchr/testify/require"
)

func path(name string) string { return filepath.Join(repository, name) }

// settings are those of .env.example.
func settings(t *testing.T) map[string]string {
	t.Helper()
	env, err := dotenv.Read(path(".env.example"))
	require.NoError(t, err)
	return env
}

// load reads the compose file as `docker compose` does: checked against the
// schema, with everything merged and filled in.
func load(t *testing.T, env map[string]string) (*types.Project, error) {
	t.Helper()
	var list []string
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	options, err := cli.NewProjectOptions([]string{path("docker-compose.yml")}, cli.WithEnv(list))
	require.NoError(t, err)
	return options.LoadProject(t.Context())
}

func mustLoad(t *testing.T) *types.Project {
	t.Helper()
	project, err := load(t, settings(t))
	require.NoError(t, err)
	return project
}

// isParley reports whether a service runs this project's image.
func isParley(s *types.ServiceConfig) bool { return s.Build != nil }

// isStore reports whether a service is one that Parley stands on.
func isStore(s *types.ServiceConfig) bool {
	return strings.HasPrefix(s.Name, "nats-") || s.Name == "redis"
}

func TestServices(t *testing.T) {
	project := mustLoad(t)
	require.ElementsMatch(t, []string{
		"nats-1", "nats-2", "nats-3", "redis", "ingest", "bot-worker", "delivery-worker", "ops", "prometheus", "grafana", "customer",
	}, project.ServiceNames())
	for name, service := range project.Services {
		want := 1
		if strings.HasSuffix(name, "-worker") {
			want = 2
		}
		require.Equal(t, want, service.GetScale(), name)
		require.Empty(t, service.ContainerName, "%s: a container with a name can't be scaled", name)
	}
}

// Every image is pinned, every container is watched, bounded and can do no more
// than it must.
func TestContainers(t *testing.T) {
	for name, s := range mustLoad(t).Services {
		t.Run(name, func(t *testing.T) {
			requirePinned(t, s.Image)
			require.Equal(t, types.RestartPolicyUnlessStopped, s.Restart)
			require.True(t, s.ReadOnly)
			require.Equal(t, []string{"ALL"}, s.CapDrop)
			require.Empty(t, s.CapAdd)
			require.False(t, s.Privileged)
			require.Contains(t, s.SecurityOpt, "no-new-privileges:true")
			require.Equal(t, "json-file", s.Logging.Driver)
			require.NotEmpty(t, s.Logging.Options["max-size"], "a log grows for ever")
			require.NotEmpty(t, s.Logging.Options["max-file"])
			require.NotNil(t, s.StopGracePeriod)

			check := s.HealthCheck
			require.NotNil(t, check)
			require.False(t, check.Disable)
			require.Equal(t, "CMD", check.Test[0], "an image without a shell can't run anything else")
			require.NotNil(t, check.Interval)
			require.NotNil(t, check.Timeout)
			require.NotNil(t, check.Retries)
			require.NotNil(t, check.StartPeriod)

			requireBounded(t, &s)
			for _, p := range s.Ports {
				require.Equal(t, "127.0.0.1", p.HostIP, "a port is published to everybody")
			}
			if isParley(&s) {
				const shutdown = 25 * time.Second // the default of --shutdown-timeout
				require.Greater(t, time.Duration(*s.StopGracePeriod), shutdown, "killed before it has drained")
			}
		})
	}
}

// requireBounded requires limits, and that Go programs know of theirs for
// memory: between them is what isn't heap.
func requireBounded(t *testing.T, s *types.ServiceConfig) {
	t.Helper()
	require.NotNil(t, s.Deploy)
	limits, reserved := s.Deploy.Resources.Limits, s.Deploy.Resources.Reservations
	require.NotNil(t, limits)
	require.NotNil(t, reserved)
	require.Positive(t, limits.NanoCPUs)
	require.Positive(t, limits.MemoryBytes)
	require.Positive(t, limits.Pids)
	require.LessOrEqual(t, reserved.NanoCPUs, limits.NanoCPUs)
	require.LessOrEqual(t, reserved.MemoryBytes, limits.MemoryBytes)
	switch s.Name {
	case "redis":
		return // C
	case "prometheus":
		return // finds its limit by itself
	}
	require.NotNil(t, s.Environment["GOMEMLIMIT"])
	limit, err := units.RAMInBytes(*s.Environment["GOMEMLIMIT"])
	require.NoError(t, err)
	share := float64(limit) / float64(limits.MemoryBytes)
	require.True(t, share >= 0.8 && share <= 0.9, "GOMEMLIMIT is %.2f of the memory", share)
}

// requirePinned requires a tag that says a version to the patch, or a digest.
func requirePinned(t *testing.T, image string) {
	t.Helper()
	if strings.HasPrefix(image, "parley:") {
		return // built here
	}
	require.Regexp(t, `^[a-z0-9./-]+:(v?\d+\.\d+\.\d+(-[a-z0-9]+)?|[\w.-]+@sha256:[0-9a-f]{64})$`, image)
}

// What must last is on a volume of its own, and what is mounted from here is
// here, and read only.
func TestVolumes(t *testing.T) {
	project := mustLoad(t)
	used := map[string]string{}
	for name, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				require.True(t, v.ReadOnly, "%s: %s", name, v.Target)
				_, err := os.Stat(v.Source)
				require.NoError(t, err, "%s mounts it", name)
				continue
			}
			require.Equal(t, types.VolumeTypeVolume, v.Type)
			require.Contains(t, project.Volumes, v.Source)
			require.Empty(t, used[v.Source], "%s is used by %s too", v.Source, name)
			used[v.Source] = name
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(project.Volumes)), slices.Collect(maps.Keys(used)))
	require.ElementsMatch(t, []string{"nats-1", "nats-2", "nats-3", "redis", "prometheus", "grafana"}, slices.Collect(maps.Values(used)))
	require.Contains(t, strings.Join(project.Services["redis"].Command, " "), "--appendonly yes")
}

// Who can reach whom: a customer's endpoint reaches no store and nothing that
// watches, the stores reach nothing outside.
func TestNetworks(t *testing.T) {
	project := mustLoad(t)
	require.True(t, bool(project.Networks["stores"].Internal))
	require.True(t, bool(project.Networks["monitoring"].Internal))
	for name, s := range project.Services {
		on := slices.Sorted(maps.Keys(s.Networks))
		switch {
		case isStore(&s):
			require.Equal(t, []string{"stores"}, on, name)
			require.Empty(t, s.Ports, name)
		case name == "customer":
			require.Equal(t, []string{"customers"}, on)
		case isParley(&s):
			require.Subset(t, on, []string{"stores", "monitoring"}, name)
		default:
			require.NotContains(t, on, "stores", name)
			require.NotContains(t, on, "customers", name)
		}
		if len(s.Ports) > 0 {
			require.Contains(t, on, "public", "%s: an internal network publishes no port", name)
		}
		if allowed := s.Environment["PARLEY_ALLOW_CIDRS"]; allowed != nil {
			require.Equal(t, project.Networks["customers"].Ipam.Config[0].Subnet, *allowed, name)
			require.Contains(t, on, "customers", name)
		}
	}
}

// Whoever needs a store waits until it is healthy.
func TestStartOrder(t *testing.T) {
	project := mustLoad(t)
	for name, s := range project.Services {
		if !isParley(&s) || name == "customer" {
			continue
		}
		for _, store := range []string{"nats-1", "nats-2", "nats-3", "redis"} {
			require.Equal(t, types.ServiceConditionHealthy, s.DependsOn[store].Condition, "%s waits for %s", name, store)
		}
	}
}

// Every setting is asked for: without it the file is refused, and says what to
// do. A store's password is nowhere but in the settings.
func TestSettings(t *testing.T) {
	all := settings(t)
	for missing := range all {
		if missing == "PARLEY_VERSION" {
			continue // has a default
		}
		rest := maps.Clone(all)
		delete(rest, missing)
		_, err := load(t, rest)
		require.ErrorContains(t, err, missing)
		require.ErrorContains(t, err, "copy .env.example to .env")
	}
	for _, name := range []string{"docker-compose.yml", "deploy/nats/nats.conf"} {
		text, err := os.ReadFile(path(name))
		require.NoError(t, err)
		for key, value := range all {
			if key != "PARLEY_VERSION" {
				require.NotContains(t, string(text), value, "%s has %s", name, key)
			}
		}
	}
}

// The NATS of the containers is of the version, to the minor one, that is
// embedded and that all tests run on.
func TestVersionOfNATS(t *testing.T) {
	mod, err := os.ReadFile(path("go.mod"))
	require.NoError(t, err)
	embedded := regexp.MustCompile(`nats-server/v2 v(\d+\.\d+\.)`).FindSubmatch(mod)
	require.NotNil(t, embedded)
	for name, s := range mustLoad(t).Services {
		if strings.HasPrefix(name, "nats-") {
			require.Contains(t, s.Image, "nats:"+string(embedded[1]))
		}
	}
}
