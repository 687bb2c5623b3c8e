package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/services/e2e"
)

const (
	repository = "../../.."
	source     = repository + "/deploy/helm/parley"
	// oldest is the Kubernetes that Chart.yaml asks for.
	oldest = "1.30.0"
)

var (
	binaries *e2e.Binaries
	helm     string // the program
	staged   string // the chart with a stand-in for the NATS chart
)

func TestMain(m *testing.M) {
	err := e2e.Main(m, func(b *e2e.Binaries) {
		binaries = b
		dir := filepath.Dir(b.Parley)
		helm, staged = filepath.Join(dir, "helm"), filepath.Join(dir, "chart", "parley")
		for _, command := range [][]string{
			{"go", "build", "-C", repository + "/.ci/charts", "-o", helm, "helm.sh/helm/v3/cmd/helm"},
			{repository + "/.ci/stage-chart", staged},
		} {
			out, err := exec.CommandContext(context.Background(), command[0], command[1:]...).CombinedOutput()
			if err != nil {
				panic(fmt.Sprintf("%v: %v\n%s", command, err, out))
			}
		}
	})
	// The testing package exits with what m.Run returned.
	if err != nil {
		panic(err)
	}
}

// examples are the names of the values that the chart comes with.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(source + "/ci/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".yaml")
	}
	return files
}

func exampleFile(name string) string { return filepath.Join(source, "ci", name+".yaml") }

// template renders the chart, and returns helm's output.
func template(t *testing.T, args ...string) (out string, errs string, err error) {
	t.Helper()
	args = append([]string{"template", "check", staged, "--namespace", "chat", "--kube-version", oldest}, args...)
	cmd := exec.CommandContext(t.Context(), helm, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// render renders an example.
func render(t *testing.T, name string) objects {
	t.Helper()
	out, errs, err := template(t, "--values", exampleFile(name))
	require.NoError(t, err, errs)
	var all objects
	for docs := yaml.NewDecoder(strings.NewReader(out)); ; {
		var doc any
		err := docs.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if doc == nil {
			continue
		}
		data, err := json.Marshal(doc) // whose field names match whatever their case
		require.NoError(t, err)
		var o object
		require.NoError(t, json.Unmarshal(data, &o), string(data))
		all = append(all, &o)
	}
	require.NotEmpty(t, all)
	return all
}

// object is what the tests look at of an object of Kubernetes.
type object struct {
	Kind     string
	Metadata struct {
		Name        string
		Labels      map[string]string
		Annotations map[string]string
	}
	Data, StringData map[string]string
	Spec             spec
}

// spec has the fields of all kinds; some of them mean another thing in another
// kind, and are read there.
type spec struct {
	podSpec     // of a Pod
	Replicas    *int
	Selector    json.RawMessage // of a Service a map, else a labelSelector
	PodSelector labelSelector
	Template    struct {
		Metadata struct{ Labels map[string]string }
		Spec     podSpec
	}
	Ports []struct {
		Name, TargetPort string
		Port             int
	}
	Egress []struct {
		To []struct {
			IPBlock struct {
				CIDR   string
				Except []string
			}
		}
		Ports []map[string]any
	}
	Endpoints       []struct{ Port, Path string }
	ScaleTargetRef  struct{ Name string }
	MaxReplicaCount int
	Triggers        []trigger
	SecretTargetRef []struct{ Parameter, Name, Key string }
	Groups          []struct{ Name string }
}

type trigger struct {
	Type              string
	Metadata          map[string]string
	AuthenticationRef struct{ Name string }
}

type podSpec struct {
	AutomountServiceAccountToken  *bool
	TerminationGracePeriodSeconds int
	SecurityContext               struct {
		RunAsNonRoot   bool
		RunAsUser      int
		SeccompProfile struct{ Type string }
	}
	Containers []container
	Volumes    []volume
}

type volume struct {
	Name      string
	ConfigMap struct{ Name string }
	Secret    struct {
		SecretName string
		Items      []struct{ Key, Path string }
	}
}

type container struct {
	Name, Image string
	Args        []string
	Env         []struct{ Name, Value string }
	Ports       []struct{ Name string }
	Resources   struct{ Requests, Limits map[string]any }
	// The probes, of which there may be none in a pod that ends by itself.
	StartupProbe, LivenessProbe, ReadinessProbe *probe

	SecurityContext struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
	Lifecycle struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
	VolumeMounts []struct{ Name, MountPath string }
}

type probe struct {
	HTTPGet struct {
		Path string
		Port string
	}
	PeriodSeconds, FailureThreshold int
}

type labelSelector struct {
	MatchLabels      map[string]string
	MatchExpressions []struct {
		Key, Operator string
		Values        []string
	}
}

type objects []*object

func (all objects) kind(kinds ...string) objects {
	var found objects
	for _, o := range all {
		for _, k := range kinds {
			if o.Kind == k {
				found = append(found, o)
			}
		}
	}
	return found
}

// get finds an object; there must be one.
func (all objects) get(t *testing.T, kind, name string) *object {
	t.Helper()
	for _, o := range all.kind(kind) {
		if o.Metadata.Name == name {
			return o
		}
	}
	require.Failf(t, "an object is missing", "%s %s", kind, name)
	return nil
}

// pods are what makes pods.
func (all objects) pods() objects { return all.kind("Deployment", "StatefulSet", "Pod") }

// pod is the pod that an object is or makes, and its labels.
func (o *object) pod() (podSpec, map[string]string) {
	if o.Kind == "Pod" {
		return o.Spec.podSpec, o.Metadata.Labels
	}
	return o.Spec.Template.Spec, o.Spec.Template.Metadata.Labels
}

// selector reads a labelSelector; a Service has a map alone.
func (o *object) selector(t *testing.T) labelSelector {
	t.Helper()
	var s labelSelector
	if o.Kind == "NetworkPolicy" {
		return o.Spec.PodSelector
	}
	if o.Kind == "Service" {
		require.NoError(t, json.Unmarshal(o.Spec.Selector, &s.MatchLabels))
		return s
	}
	require.NoError(t, json.Unmarshal(o.Spec.Selector, &s))
	return s
}

func (s labelSelector) matches(labels map[string]string) bool {
	for k, v := range s.MatchLabels {
		if labels[k] != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		in := false
		for _, v := range e.Values {
			in = in || labels[e.Key] == v
		}
		if e.Operator != "In" || !in {
			return false
		}
	}
	return true
}
