package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// What can't work is refused before anything is installed, and the error says
// which value it is.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, values, says string
	}{
		{"a value that there is not", "ingres: {enabled: true}", "ingres"},
		{"a value of a service that there is not", "botWorker: {replica: 3}", "replica"},
		{"no limit of memory", "ops: {resources: {limits: {memory: null}}}", "memory"},
		{"memory in another unit", "ops: {resources: {limits: {memory: 1G}}}", "memory"},
		{"a port that is none", "allowPorts: [70000]", "allowPorts"},
		{"a network that is none", "allowCidrs: [10.0.0.1]", "allowCidrs"},
		{"a seal key of another length", "secrets: {sealKey: c2hvcnQ=}", "sealKey"},
		{"a short ops token", "secrets: {opsToken: short}", "opsToken"},
		{"no NATS", "secrets: {natsUrl: null}", "secrets.natsUrl is not set"},
		{"no Redis", `secrets: {redisUrl: ""}`, "secrets.redisUrl is not set"},
		{"NATS without its token", "nats: {enabled: true}", "secrets.natsToken is not set"},
		{"NATS with another Secret's token", "{nats: {enabled: true}, secrets: {natsToken: 0123456789abcdef}}", `set valueFrom.secretKeyRef.name`},
		{"NATS without JetStream", "nats: {enabled: true, config: {jetstream: {enabled: false}}}", "jetstream"},
		{"NATS with two servers", "nats: {enabled: true, config: {cluster: {replicas: 2}}}", "replicas"},
		{"Redis without its password", "redis: {enabled: true}", "secrets.redisPassword is not set"},
		{"more workers than partitions", "deliveryWorker: {replicas: 9}", "deliveryWorker.replicas is 9"},
		{"more scaled workers than partitions", "autoscaling: {keda: {enabled: true, botWorker: {maxReplicas: 9}}}", "autoscaling.keda.botWorker.maxReplicas is 9"},
		{"a least above the most", "autoscaling: {keda: {enabled: true, botWorker: {minReplicas: 5, maxReplicas: 4}}}", "above its maxReplicas 4"},
		{"scaled to nothing", "autoscaling: {keda: {enabled: true, botWorker: {minReplicas: 0}}}", "minReplicas"},
		{"a least of ingest above the most", "autoscaling: {ingest: {enabled: true, minReplicas: 11}}", "autoscaling.ingest.minReplicas is 11"},
		{"a flag that the chart sets", "config: {partitions: 4}", "config.partitions is the chart's to set"},
		{"a secret in the ConfigMap", "config: {ops-token: 0123456789abcdef}", "config.ops-token is a secret"},
		{"a flag in another spelling", "config: {storeMax: 1GiB}", "storeMax"},
		{"an ingress without a host", "ingress: {enabled: true}", "ingress.hosts is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "values.yaml")
			require.NoError(t, os.WriteFile(path, []byte(test.values), 0o600))
			_, errs, err := template(t, "--values", exampleFile("minimal"), "--values", path)
			require.Error(t, err)
			require.Contains(t, errs, test.says)
		})
	}
	_, errs, err := template(t)
	require.Error(t, err)
	require.Contains(t, errs, "secrets.sealKey is not set", "without any values")
}

// The README's table has each value of values.yaml with its default, and no other.
func TestValuesTable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(source + "/values.yaml")
	require.NoError(t, err)
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &doc))
	want := map[string]string{}
	leaves(t, "", doc.Content[0], want)

	readme, err := os.ReadFile(source + "/README.md")
	require.NoError(t, err)
	got := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z.-]+)` \\| (?:`([^`]*)`)? ?\\|").FindAllStringSubmatch(string(readme), -1) {
		require.NotContains(t, got, row[1], "stands there twice")
		got[row[1]] = row[2]
	}
	require.Equal(t, want, got)
}

// whole are values that the table has in one row, without their default: what is
// in them is Kubernetes' or the NATS chart's to explain.
var whole = regexp.MustCompile(`^nats$|\.?resources$|^networkPolicy\.(metrics|keda)\.from$|^networkPolicy\.dns\.to$`)

// leaves flattens values to their paths; a default is written in one line.
func leaves(t *testing.T, path string, n *yaml.Node, to map[string]string) {
	t.Helper()
	switch {
	case whole.MatchString(path) || n.Kind == yaml.ScalarNode && n.Value == "":
		to[path] = ""
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		for i := 0; i+1 < len(n.Content); i += 2 {
			leaves(t, strings.TrimPrefix(path+"."+n.Content[i].Value, "."), n.Content[i+1], to)
		}
	default:
		var value any
		require.NoError(t, n.Decode(&value))
		line, err := json.Marshal(value)
		require.NoError(t, err)
		to[path] = strings.Trim(string(line), `"`)
	}
}
