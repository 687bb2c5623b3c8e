package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

var updatePage = flag.Bool("update", false, "write the table in docs/metrics.md anew")

const (
	metricsPage = "../../docs/metrics.md"
	tableBegins = "<!-- The table is made by `make generate` from what the services register. -->\n"
)

// openLabels are those whose values the code doesn't list: how they are bounded.
func openLabels(l string, values int) string {
	switch l {
	case "group":
		return "ids of channels (stage `user`) or endpoints (`bot`), the 100 that wait longest, and `_rest` for all others"
	case "stream":
		return fmt.Sprintf("streams of the deployment: 2 for each of `--partitions`, and %d", values-2*defaultPartitions)
	case "version", "goversion":
		return "one"
	}
	return ""
}

// defaultPartitions is what a deployment begins with unless told.
const defaultPartitions = 8

// documented is a metric as the page has it.
type documented struct {
	kind, help string
	labels     map[string]map[string]bool
	services   []string
}

// The page has exactly the metrics that the services register when they start,
// each with its type, its labels and the values they can have: a label's values
// are all there from the start.
func TestMetricsPage(t *testing.T) {
	all := map[string]*documented{}
	for _, service := range []struct {
		name string
		role role
	}{{"ingest", addIngest}, {"bot-worker", addBotWorker}, {"delivery-worker", addDeliveryWorker}, {"ops", addOps}} {
		f := flagsOf(t, "--public-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--store-max", "300MiB", "--sync", "1s", "--log-level", "error")
		require.NoError(t, runProcess(t.Context(), f, []role{service.role}, func(ctx context.Context, p *process) error {
			if p.figures != nil {
				require.NoError(t, p.figures.Look(ctx))
			}
			problems, err := testutil.GatherAndLint(p.metrics)
			require.NoError(t, err)
			require.Empty(t, problems)
			families, err := p.metrics.Gather()
			require.NoError(t, err)
			require.ElementsMatch(t, described(p.metrics), namesOf(families), "one that has no value at the start: give its labels their values, or it 0")
			for _, family := range families {
				if strings.HasPrefix(family.GetName(), "parley_") {
					document(all, family, service.name)
				}
			}
			return nil
		}), service.name)
	}
	page, err := os.ReadFile(metricsPage)
	require.NoError(t, err)
	written, table, found := strings.Cut(string(page), tableBegins)
	require.True(t, found, "the table's mark is missing")
	if *updatePage {
		require.NoError(t, os.WriteFile(metricsPage, []byte(written+tableBegins+metricsTable(t, all)), 0o644))
		return
	}
	require.Equal(t, metricsTable(t, all), table, "run make generate")
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

// described returns the names of all metrics that may be there.
func described(reg *prometheus.Registry) []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		reg.Describe(descs)
	}()
	names := map[string]bool{}
	for d := range descs {
		if name := fqName.FindStringSubmatch(d.String())[1]; strings.HasPrefix(name, "parley_") {
			names[name] = true
		}
	}
	return slices.Collect(maps.Keys(names))
}

func namesOf(families []*dto.MetricFamily) (names []string) {
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "parley_") {
			names = append(names, f.GetName())
		}
	}
	return names
}

// document adds what a service registers of a metric.
func document(all map[string]*documented, f *dto.MetricFamily, service string) {
	d := all[f.GetName()]
	if d == nil {
		d = &documented{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp(), labels: map[string]map[string]bool{}}
		all[f.GetName()] = d
	}
	d.services = append(d.services, service)
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if d.labels[l.GetName()] == nil {
				d.labels[l.GetName()] = map[string]bool{}
			}
			d.labels[l.GetName()][l.GetValue()] = true
		}
	}
}

func metricsTable(t *testing.T, all map[string]*documented) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("\n| metric | type | unit | labels | service | |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name]
		require.NotContains(t, d.help, "|", name)
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s | %s |\n", name, d.kind, unitOf(name), labelsOf(d), strings.Join(d.services, ", "), d.help)
	}
	return out.String()
}

func unitOf(name string) string {
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			return unit
		}
	}
	return ""
}

func labelsOf(d *documented) string {
	var labels []string
	for _, l := range slices.Sorted(maps.Keys(d.labels)) {
		values := openLabels(l, len(d.labels[l]))
		if values == "" {
			values = strings.Join(slices.Sorted(maps.Keys(d.labels[l])), ", ")
		}
		labels = append(labels, fmt.Sprintf("`%s`: %s", l, values))
	}
	return strings.Join(labels, "; ")
}
