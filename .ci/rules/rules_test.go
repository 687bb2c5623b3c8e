// Package rules checks that alerts and dashboards ask for metrics that there
// are, and that each alert can be acted on.
package rules

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

const (
	root       = "../../"
	rulesFile  = root + "deploy/prometheus/rules/parley.yml"
	rulesTests = root + "deploy/prometheus/rules/parley_test.yml"
	runbooks   = root + "docs/runbooks.md"
	// runbookURL is where an alert's runbook is read.
	runbookURL = "https://github.com/parleyhq/parley/blob/main/docs/runbooks.md#"
	// datasource is the uid that deploy/grafana/provisioning gives Prometheus.
	datasource = "prometheus"
)

// metric is one that expressions may ask for: its labels with their values,
// none where they are open.
type metric struct {
	histogram bool
	labels    map[string][]string
}

// foreign are metrics that are not Parley's.
func foreign() map[string]metric {
	return map[string]metric{
		"up":                            {},
		"ALERTS":                        {labels: map[string][]string{"alertname": nil, "alertstate": {"firing", "pending"}, "severity": {"critical", "warning"}}},
		"process_start_time_seconds":    {},
		"process_cpu_seconds_total":     {},
		"process_resident_memory_bytes": {},
	}
}

// added are the labels that scraping adds.
func added() []string { return []string{"instance", "job", "service"} }

var (
	row   = regexp.MustCompile("(?m)^\\| `(parley_[a-z0-9_]+)` \\| ([a-z]+) \\| [a-z]* \\| (.*?) \\| [a-z, -]+ \\| ")
	label = regexp.MustCompile("^`([a-z_]+)`: (.*)$")
	word  = regexp.MustCompile(`^[A-Za-z0-9_.-]+( [a-z]+)*$`)
)

// page reads the metrics that docs/metrics.md has, which a test of the services
// keeps true.
func page(t *testing.T) map[string]metric {
	t.Helper()
	all := foreign()
	for _, m := range row.FindAllStringSubmatch(read(t, root+"docs/metrics.md"), -1) {
		d := metric{histogram: m[2] == "histogram", labels: map[string][]string{}}
		for l := range strings.SplitSeq(m[3], "; ") {
			if found := label.FindStringSubmatch(l); found != nil {
				d.labels[found[1]] = valuesOf(found[1], found[2])
			}
		}
		all[m[1]] = d
	}
	if len(all) < 40 {
		t.Fatalf("docs/metrics.md has %d metrics: is its table written otherwise?", len(all))
	}
	return all
}

// valuesOf returns a label's values; nil where the page tells of them.
func valuesOf(name, text string) []string {
	if slices.Contains([]string{"group", "stream", "version", "goversion"}, name) {
		return nil
	}
	return strings.Split(text, ", ")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// rules reads the rules, and adds the recorded metrics to those that there are.
func rules(t *testing.T, known map[string]metric) (alerts []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, rulesFile)), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Record == "" {
				alerts = append(alerts, r)
				continue
			}
			kept := map[string][]string{}
			for _, l := range check(t, known, r.Record, r.Expr) {
				kept[l] = nil
			}
			known[r.Record] = metric{labels: kept}
		}
	}
	return alerts
}

// check fails where an expression asks for what there isn't: a metric, a label, a
// label's value. It returns the labels that the expression groups by.
func check(t *testing.T, known map[string]metric, where, expr string) (grouped []string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %q: %v", where, expr, err)
		return nil
	}
	var available []string
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			available = append(available, selector(t, known, where, n)...)
		case *parser.AggregateExpr:
			grouped = append(grouped, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				grouped = append(grouped, n.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	for _, l := range grouped {
		if !slices.Contains(available, l) {
			t.Errorf("%s: %q groups by %q, which none of its metrics has", where, expr, l)
		}
	}
	return grouped
}

// selector checks one selector, and returns the labels that it may have.
func selector(t *testing.T, known map[string]metric, where string, n *parser.VectorSelector) []string {
	t.Helper()
	m, ok := known[n.Name]
	has := added()
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, isPart := strings.CutSuffix(n.Name, suffix); isPart && known[base].histogram {
			m, ok = known[base], true
			if suffix == "_bucket" {
				has = append(has, "le")
			}
		}
	}
	switch {
	case !ok:
		t.Errorf("%s asks for %s, which no service has", where, n.Name)
	case m.histogram && !strings.HasPrefix(n.Name, "ALERTS") && known[n.Name].histogram:
		t.Errorf("%s asks for %s, a histogram: ask for its _bucket, _sum or _count", where, n.Name)
	}
	has = slices.AppendSeq(has, maps.Keys(m.labels))
	for _, l := range n.LabelMatchers {
		if l.Name == model.MetricNameLabel {
			continue
		}
		if !slices.Contains(has, l.Name) {
			t.Errorf("%s asks for label %q of %s, which has %q", where, l.Name, n.Name, has)
		}
		for _, value := range wanted(l) {
			if values := m.labels[l.Name]; values != nil && !slices.Contains(values, value) {
				t.Errorf("%s asks for %s=%q of %s, which has %q", where, l.Name, value, n.Name, values)
			}
		}
	}
	return has
}

// wanted are the values that a matcher names.
func wanted(m *labels.Matcher) []string {
	if m.Type == labels.MatchEqual || m.Type == labels.MatchNotEqual {
		return []string{m.Value}
	}
	return slices.DeleteFunc(strings.Split(m.Value, "|"), func(v string) bool { return !word.MatchString(v) || strings.Contains(v, ".*") })
}

func TestRulesAskForWhatThereIs(t *testing.T) {
	known := page(t)
	for _, r := range rules(t, known) {
		check(t, known, r.Alert, r.Expr)
	}
}

// Every alert says how bad it is, what it means and where its runbook is, and
// every runbook belongs to an alert.
func TestAlertsHaveRunbooks(t *testing.T) {
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(read(t, runbooks), -1) {
		sections[m[1]] = true
	}
	for _, r := range rules(t, page(t)) {
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has severity %q: critical or warning", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks a summary or a description", r.Alert)
		}
		if got := r.Annotations["runbook_url"]; got != runbookURL+strings.ToLower(r.Alert) {
			t.Errorf("%s has the runbook %q", r.Alert, got)
		}
		if !sections[r.Alert] {
			t.Errorf("docs/runbooks.md has no section %s", r.Alert)
		}
		delete(sections, r.Alert)
	}
	for left := range sections {
		t.Errorf("docs/runbooks.md has a section %s, and there is no such alert", left)
	}
}

// Every alert is tested to fire, and not to.
func TestAlertsAreTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Name   string `yaml:"name"`
			Checks []struct {
				Samples []struct {
					Labels string `yaml:"labels"`
				} `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal([]byte(read(t, rulesTests)), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Checks {
			if len(c.Samples) == 0 {
				quiet[test.Name] = true
			}
			for _, s := range c.Samples {
				fires[test.Name] = fires[test.Name] || strings.Contains(s.Labels, fmt.Sprintf("alertname=%q", test.Name))
			}
		}
	}
	for _, r := range rules(t, page(t)) {
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s: tested to fire: %t, not to: %t", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

type panel struct {
	ID         int    `json:"id"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	About      string `json:"description"`
	Datasource source `json:"datasource"`
	Field      struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Datasource source `json:"datasource"`
		Expr       string `json:"expr"`
	} `json:"targets"`
}

type source struct {
	UID string `json:"uid"`
}

type dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Panels     []panel
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Datasource source `json:"datasource"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

var definition = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

func TestDashboards(t *testing.T) {
	known := page(t)
	rules(t, known)
	files, err := filepath.Glob(root + "deploy/grafana/dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID+".json" != filepath.Base(file) || d.Title == "" || uids[d.UID] {
			t.Errorf("%s has uid %q and title %q", file, d.UID, d.Title)
		}
		uids[d.UID] = true
		variables := strings.NewReplacer("$__rate_interval", "5m")
		for _, v := range d.Templating.List {
			m := definition.FindStringSubmatch(v.Definition)
			if m == nil || v.Datasource.UID != datasource {
				t.Fatalf("%s: variable %s is %q of %q", d.UID, v.Name, v.Definition, v.Datasource.UID)
			}
			check(t, known, d.UID+", variable "+v.Name, fmt.Sprintf("%s{%s!=%q}", m[1], m[2], ""))
		}
		ids := map[int]bool{}
		for i := range d.Panels {
			p := &d.Panels[i]
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: panel %d (%q) has no title, or another's id", d.UID, p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			where := d.UID + ", " + p.Title
			if p.Datasource.UID != datasource || p.Field.Defaults.Unit == "" || p.About == "" || len(p.Targets) == 0 {
				t.Errorf("%s: datasource %q, unit %q, description %q, %d queries", where, p.Datasource.UID, p.Field.Defaults.Unit, p.About, len(p.Targets))
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != datasource {
					t.Errorf("%s: a query's datasource is %q", where, q.Datasource.UID)
				}
				check(t, known, where, variables.Replace(q.Expr))
			}
		}
	}
	var provisioned struct {
		Datasources []source `yaml:"datasources"`
	}
	if err := yaml.Unmarshal([]byte(read(t, root+"deploy/grafana/provisioning/datasources/prometheus.yml")), &provisioned); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(provisioned.Datasources, source{UID: datasource}) {
		t.Errorf("no datasource %s is provisioned", datasource)
	}
}

// What is scraped by name is a service of the compose file.
func TestScrapedServices(t *testing.T) {
	var config struct {
		Scrape []struct {
			DNS []struct {
				Names []string `yaml:"names"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	var compose struct {
		Services map[string]any `yaml:"services"`
	}
	for path, into := range map[string]any{"deploy/prometheus/prometheus.yml": &config, "docker-compose.yml": &compose} {
		if err := yaml.Unmarshal([]byte(read(t, root+path)), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	names := 0
	for _, s := range config.Scrape {
		for _, dns := range s.DNS {
			for _, name := range dns.Names {
				names++
				if _, ok := compose.Services[name]; !ok {
					t.Errorf("prometheus.yml scrapes %s, which docker-compose.yml doesn't have", name)
				}
			}
		}
	}
	if names != 4 {
		t.Errorf("%d services are scraped by name, not 4", names)
	}
}
