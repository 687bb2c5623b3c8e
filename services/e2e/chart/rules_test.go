package chart

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/pkg/webhook"
)

// component says which service a pod, or what belongs to one, is of.
const component = "app.kubernetes.io/component"

var services = []string{"ingest", "bot-worker", "delivery-worker", "ops"}

// flags reads the configuration file of the services.
func flags(t *testing.T, all objects) map[string]any {
	t.Helper()
	for _, o := range all.kind("ConfigMap") {
		if text, ok := o.Data["parley.yaml"]; ok {
			var f map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(text), &f))
			return f
		}
	}
	require.Fail(t, "no ConfigMap has parley.yaml")
	return nil
}

// What every pod must be, whatever the values.
func TestPods(t *testing.T) {
	t.Parallel()
	for _, name := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := render(t, name)
			end, err := time.ParseDuration(flags(t, all)["shutdown-timeout"].(string))
			require.NoError(t, err)
			components := map[string]bool{}
			for _, o := range all.pods() {
				pod, labels := o.pod()
				what := o.Kind + " " + o.Metadata.Name
				components[labels[component]] = true
				require.LessOrEqual(t, len(o.Metadata.Name), 63, what)
				require.NotNil(t, pod.AutomountServiceAccountToken, what)
				require.False(t, *pod.AutomountServiceAccountToken, what)
				require.True(t, pod.SecurityContext.RunAsNonRoot, what)
				require.NotZero(t, pod.SecurityContext.RunAsUser, what)
				require.Equal(t, "RuntimeDefault", pod.SecurityContext.SeccompProfile.Type, what)
				require.NotEmpty(t, pod.Containers, what)
				for _, c := range pod.Containers {
					require.Regexp(t, `^[a-z0-9./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})$`, c.Image, what)
					require.NotContains(t, c.Image, ":latest", what)
					require.NotEmpty(t, c.Resources.Requests["cpu"], what)
					require.NotEmpty(t, c.Resources.Requests["memory"], what)
					require.NotEmpty(t, c.Resources.Limits["memory"], what)
					require.NotNil(t, c.SecurityContext.AllowPrivilegeEscalation, what)
					require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, what)
					require.True(t, c.SecurityContext.ReadOnlyRootFilesystem, what)
					require.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop, what)
					if o.Kind == "Pod" { // ends by itself
						continue
					}
					for _, p := range []*probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
						require.NotNil(t, p, what)
					}
				}
				if o.Kind != "Deployment" {
					continue
				}
				c := pod.Containers[0]
				require.Equal(t, 65532, pod.SecurityContext.RunAsUser, "the image's user")
				require.Equal(t, labels[component], c.Args[0], "the command is the component's name")
				ends := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second + end
				require.Greater(t, time.Duration(pod.TerminationGracePeriodSeconds)*time.Second, ends, what)
				// --start-timeout, two minutes: then the process ends with its reason.
				require.Greater(t, c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold, 120, what)
			}
			for _, s := range services {
				require.True(t, components[s], s)
			}
		})
	}
}

// Every selector finds what it is meant to, and nothing else.
func TestSelectors(t *testing.T) {
	t.Parallel()
	for _, name := range examples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := render(t, name)
			selected := func(o *object) (found objects) {
				s := o.selector(t)
				for _, p := range all.pods() {
					if _, labels := p.pod(); s.matches(labels) {
						found = append(found, p)
					}
				}
				return found
			}
			for _, o := range all.kind("Deployment", "StatefulSet", "Service", "PodDisruptionBudget") {
				found := selected(o)
				require.Len(t, found, 1, "%s %s", o.Kind, o.Metadata.Name)
				if o.Kind != "Service" {
					require.Equal(t, o.Metadata.Labels[component], found[0].Metadata.Labels[component])
					continue
				}
				pod, _ := found[0].pod()
				names := map[string]bool{}
				for _, p := range pod.Containers[0].Ports {
					names[p.Name] = true
				}
				for _, p := range o.Spec.Ports {
					require.True(t, names[p.TargetPort], "Service %s: port %s", o.Metadata.Name, p.TargetPort)
				}
			}
			require.Len(t, all.kind("PodDisruptionBudget"), len(services))
			for _, o := range all.kind("NetworkPolicy") {
				if o.Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] == "nats" {
					continue // the NATS chart's pods
				}
				require.NotEmpty(t, selected(o), "NetworkPolicy %s", o.Metadata.Name)
			}
			for _, o := range all.kind("ServiceMonitor") {
				s, found := o.selector(t), 0
				for _, service := range all.kind("Service") {
					if s.matches(service.Metadata.Labels) {
						require.Equal(t, o.Spec.Endpoints[0].Port, service.Spec.Ports[0].Name)
						found++
					}
				}
				require.Equal(t, len(services), found, "services with metrics")
			}
		})
	}
}

// What scales a deployment is there once, and the deployment leaves it the number.
func TestScaling(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		example string
		scaled  []string
	}{
		{"minimal", nil},
		{"production", []string{"ingest", "bot-worker", "delivery-worker"}},
		{"everything", []string{"ingest", "bot-worker", "delivery-worker"}},
	} {
		t.Run(test.example, func(t *testing.T) {
			t.Parallel()
			all := render(t, test.example)
			partitions, _ := flags(t, all)["partitions"].(int)
			var scaled []string
			for _, o := range all.kind("HorizontalPodAutoscaler", "ScaledObject") {
				d := all.get(t, "Deployment", o.Spec.ScaleTargetRef.Name)
				require.Nil(t, d.Spec.Replicas, d.Metadata.Name)
				scaled = append(scaled, d.Metadata.Labels[component])
				require.LessOrEqual(t, o.Spec.MaxReplicaCount, partitions)
			}
			require.ElementsMatch(t, test.scaled, scaled)
			for _, d := range all.kind("Deployment") {
				require.Equal(t, len(scaled) == 0 || d.Metadata.Labels[component] == "ops", d.Spec.Replicas != nil, d.Metadata.Name)
			}
		})
	}
}

// The network policy lets through what the guard of pkg/webhook does: no less,
// and no address that the guard refuses.
func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	all := render(t, "minimal")
	blocks := all.get(t, "NetworkPolicy", "check-parley-endpoints").Spec.Egress[0].To
	passes := func(addr netip.Addr) bool {
		for _, b := range blocks {
			if netip.MustParsePrefix(b.IPBlock.CIDR).Contains(addr) {
				for _, e := range b.IPBlock.Except {
					if netip.MustParsePrefix(e).Contains(addr) {
						return false
					}
				}
				return true
			}
		}
		return false
	}
	addrs := []string{
		"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "223.255.255.255", "168.63.129.15",
		"2606:4700::1111", "2001:4860::1", "2003::1", "::1", "fd00::1", "fe80::1", "64:ff9b:1::1", "ff02::1", "2001:2::1", "2001:db8::1", "2002:a00::1", "3fff::1", "fd00:ec2::254",
		"168.63.129.16", "169.254.169.254", "0.0.0.0", "255.255.255.255",
	}
	for _, b := range blocks {
		for _, e := range b.IPBlock.Except {
			addrs = append(addrs, netip.MustParsePrefix(e).Addr().String())
		}
	}
	for first := range 256 { // and a walk over all of IPv4
		for _, second := range []byte{0, 0x10, 0x40, 0x58, 0xa8, 0xfe} {
			addrs = append(addrs, netip.AddrFrom4([4]byte{byte(first), second, 0, 1}).String(), netip.AddrFrom4([4]byte{byte(first), second, 200, 1}).String())
		}
	}
	guard := &webhook.Guard{}
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		require.Equal(t, guard.CheckAddr(addr) == nil, passes(addr), a)
	}
}

// The NATS chart gets its values where it is asked for, and isn't there else.
func TestNATS(t *testing.T) {
	t.Parallel()
	require.NotContains(t, names(render(t, "minimal")), "check-nats-values")
	all := render(t, "everything")
	var values struct {
		Config struct {
			Cluster   struct{ Replicas int }
			JetStream struct {
				FileStore struct{ PVC struct{ Size string } } `yaml:"fileStore"`
			}
			Merge struct{ Authorization struct{ Token string } }
		}
		Container struct {
			Env map[string]struct {
				ValueFrom struct {
					SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
				} `yaml:"valueFrom"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(all.get(t, "ConfigMap", "check-nats-values").Data["values.yaml"]), &values))
	require.Equal(t, 3, values.Config.Cluster.Replicas)
	require.Equal(t, "20Gi", values.Config.JetStream.FileStore.PVC.Size)
	require.Equal(t, "<< $PARLEY_NATS_TOKEN >>", values.Config.Merge.Authorization.Token)
	ref := values.Container.Env["PARLEY_NATS_TOKEN"].ValueFrom.SecretKeyRef
	secret := all.get(t, "Secret", ref.Name)
	require.Contains(t, secret.StringData, ref.Key)
	require.Equal(t, "nats://local-use-only-nats-token%2B%2F%40@check-nats.chat.svc:4222", secret.StringData["nats-url"])
	require.Equal(t, "redis://:local-use-only-redis-password%2B%2F%40@parley-chat-redis.chat.svc:6379/0", secret.StringData["redis-url"])
}

func names(all objects) (found []string) {
	for _, o := range all {
		found = append(found, o.Metadata.Name)
	}
	return found
}

// The chart's copy of the alerts is the repository's: a chart can't reach
// beyond its own directory.
func TestRules(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return ""
		}
		require.NoError(t, err)
		return string(data)
	}
	rules := read(repository + "/deploy/prometheus/rules/parley.yml")
	require.Equal(t, rules, read(source+"/files/rules.yml"), "cp deploy/prometheus/rules/parley.yml deploy/helm/parley/files/rules.yml")
	var file struct{ Groups []struct{ Name string } }
	require.NoError(t, yaml.Unmarshal([]byte(rules), &file))
	groups := render(t, "everything").get(t, "PrometheusRule", "parley-chat").Spec.Groups
	require.Equal(t, append(file.Groups, struct{ Name string }{"chat"}), groups, "and those of the values behind")
}
