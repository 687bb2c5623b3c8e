package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/ledger"
)

// configurable are the commands whose settings can be checked and shown. The
// demo takes what it needs from nobody.
var configurable = []string{"serve", "ingest", "bot-worker", "delivery-worker", "ops"}

// bindsAnnotation marks commands that read settings to talk about them, so
// that a fault in these doesn't keep them from starting.
const bindsAnnotation = "parley_binds_itself"

func bindsItself(cmd *cobra.Command) bool { return cmd.Annotations[bindsAnnotation] != "" }

// configCommand reads the settings of services and starts none.
type configCommand struct {
	binder   *binder
	services map[string]*serviceFlags
	roles    []string
	json     bool
}

func newConfigCommand(b *binder, services map[string]*serviceFlags) *cobra.Command {
	c := &configCommand{binder: b, services: services}
	group := &cobra.Command{
		Use: "config", Short: "Check and show the settings of services, without starting any", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.AddCommand(c.newCheck(), c.newShow(), c.newReference())
	return group
}

func (c *configCommand) bind(cmd *cobra.Command) {
	cmd.Annotations = map[string]string{bindsAnnotation: "true"}
	fs := cmd.Flags()
	fs.StringSliceVar(&c.roles, "for", []string{"serve"}, "`SERVICES` whose settings they are: "+strings.Join(configurable, ", ")+", or all for those that are processes of their own")
	fs.BoolVar(&c.json, "json", false, "print JSON instead of a table")
	markValues(fs, "for", append(slices.Clone(configurable), "all")...)
}

// target is a service's command with its settings read.
type target struct {
	name  string
	cmd   *cobra.Command
	flags *serviceFlags
	from  map[string]setting
}

// targets reads the settings of the services that are asked for; args are flags
// as on their command lines.
func (c *configCommand) targets(cmd *cobra.Command, s *settings, args []string) ([]target, faults, error) {
	var (
		all   []target
		wrong faults
	)
	names := c.roles
	if slices.Contains(names, "all") {
		names = configurable[1:]
	}
	for _, name := range names {
		if !slices.Contains(configurable, name) {
			return nil, nil, fmt.Errorf("--for has %q: choose of %s, or all", name, strings.Join(configurable, ", "))
		}
		t := target{name: name, flags: c.services[name]}
		var err error
		if t.cmd, _, err = cmd.Root().Find([]string{name}); err != nil {
			return nil, nil, err
		}
		if err := t.cmd.ParseFlags(args); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		var faulty faults
		t.from, faulty = s.settle(t.cmd.Flags())
		wrong = append(wrong, faulty...)
		all = append(all, t)
	}
	return all, wrong, nil
}

// finding is something about the settings.
type finding struct {
	Severity string `json:"severity"` // error or warning
	Source   string `json:"source,omitempty"`
	Problem  string `json:"problem"`
}

const (
	severityError   = "error"
	severityWarning = "warning"
)

func (c *configCommand) newCheck() *cobra.Command {
	connect := false
	cmd := &cobra.Command{
		Use:   "check [flags] [-- FLAGS OF THE SERVICE]",
		Short: "Check the settings of services, and print all that is wrong at once",
		Long: "Check file and environment as the start of the services does, without starting anything: keys and variables\n" +
			"that are no setting, values and what they come to together, files of secrets. Each problem is printed with\n" +
			"where the value stands. A variable PARLEY_… that is no setting is an error here, and a warning at a start;\n" +
			"what Kubernetes sets beside a service named parley is neither.\n\n" +
			"The exit code is 0 where a start would get as far as connecting (there may be warnings), 1 where it would\n" +
			"not, and 2 where the command line is wrong.",
		Example: "  parley config check --config /etc/parley/parley.yaml\n" +
			"  parley config check --for all --connect\n" +
			"  parley config check --for ingest -- --public-addr :8080",
		RunE: func(cmd *cobra.Command, args []string) error {
			s := c.binder.read(cmd)
			targets, wrong, err := c.targets(cmd, s, args)
			if err != nil {
				return &usageError{err}
			}
			found := c.check(s, targets, wrong)
			if connect && !slices.ContainsFunc(found, func(f finding) bool { return f.Severity == severityError }) {
				for _, t := range targets {
					found = append(found, t.connect(cmd.Context())...)
				}
			}
			return c.report(cmd, distinct(found))
		},
	}
	c.bind(cmd)
	cmd.Flags().BoolVar(&connect, "connect", false, "also ask NATS and Redis whether they are there, and of a version that will do")
	return cmd
}

// check finds all that can be found without connecting.
func (c *configCommand) check(s *settings, targets []target, wrong faults) []finding {
	var found []finding
	for _, unknown := range s.unknown {
		found = append(found, finding{Severity: severityError, Problem: unknown})
	}
	for _, err := range slices.Concat(s.faults, wrong) {
		found = append(found, finding{Severity: severityError, Problem: err.Error()})
	}
	for _, t := range targets {
		found = append(found, t.findings(severityError, t.flags.failing(false))...)
		found = append(found, t.findings(severityWarning, t.flags.doubts())...)
		found = append(found, t.readableByAll()...)
	}
	return found
}

// findings says where the flags that are wrong come from.
func (t target) findings(severity string, wrong faults) []finding {
	var found []finding
	for _, err := range wrong {
		f := finding{Severity: severity, Source: "default", Problem: err.Error()}
		if of, ok := errors.AsType[*flagError](err); ok {
			if from, set := t.from[of.flag]; set {
				f.Source = from.source
				if from.wrong {
					continue
				}
			} else if value := t.cmd.Flags().Lookup(of.flag); value != nil && value.DefValue == "" {
				f.Source = "" // it is missing
			}
		}
		found = append(found, f)
	}
	return found
}

// othersRead is the permission of everybody on the machine to read a file.
const othersRead = 0o004

// readableByAll warns of secrets in files that everybody can read.
func (t target) readableByAll() []finding {
	var found []finding
	t.cmd.Flags().VisitAll(func(f *pflag.Flag) {
		from := t.from[f.Name]
		if from.file == "" || !isSecret(f) {
			return
		}
		if info, err := os.Stat(from.file); err == nil && info.Mode().Perm()&othersRead != 0 {
			found = append(found, finding{severityWarning, from.source, fmt.Sprintf("everybody on this machine can read the secret in %s: chmod o-r it", from.file)})
		}
	})
	return found
}

// connectTimeout bounds each of the questions of --connect.
const connectTimeout = 5 * time.Second

// connect asks what is outside whether the service could use it, and changes
// nothing there.
func (t target) connect(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var wrong faults
	add := func(flag string, err error) {
		if err != nil {
			wrong = append(wrong, &flagError{flag, named(flag, err)})
		}
	}
	if t.flags.natsURL != "" {
		add("nats-url", t.flags.reachNATS())
	}
	if t.flags.redisURL != "" {
		add("redis-url", t.flags.reachRedis(ctx))
	}
	return t.findings(severityError, wrong)
}

func (f *serviceFlags) reachNATS() error {
	conn, err := f.natsAccess.Connect(f.natsURL, "parley config check", zap.NewNop())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.CheckVersion()
}

func (f *serviceFlags) reachRedis(ctx context.Context) error {
	client, err := ledger.Connect(f.redisURL)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("asking Redis: %w", err)
	}
	return ledger.CheckVersion(ctx, client)
}

// distinct leaves out what services have in common.
func distinct(found []finding) []finding {
	seen := map[finding]bool{}
	return slices.DeleteFunc(found, func(f finding) bool {
		before := seen[f]
		seen[f] = true
		return before
	})
}

// report is what `config check --json` prints.
type report struct {
	Services []string  `json:"services"`
	Problems []finding `json:"problems"`
}

func (c *configCommand) report(cmd *cobra.Command, found []finding) error {
	slices.SortStableFunc(found, func(a, b finding) int { return cmp.Compare(a.Severity, b.Severity) })
	failed := 0
	for _, f := range found {
		if f.Severity == severityError {
			failed++
		}
	}
	out := report{c.roles, append([]finding{}, found...)}
	err := show(&clientConfig{JSON: c.json}, cmd, out, func(w io.Writer, _ report) {
		for _, f := range found {
			text := f.Problem
			if f.Source != "" {
				text = f.Source + ": " + text
			}
			fmt.Fprintf(w, "%s: %s\n", f.Severity, text)
		}
		if failed == 0 {
			fmt.Fprintf(w, "the settings of %s will do\n", strings.Join(c.roles, ", "))
		}
	})
	if err == nil && failed > 0 {
		err = fmt.Errorf("settings to change: %d", failed)
	}
	return err
}

// shownSetting is a setting as `config show` prints it.
type shownSetting struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Value   string `json:"value"`
	Source  string `json:"source"`
}

func (c *configCommand) newShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [flags] [-- FLAGS OF THE SERVICE]",
		Short: "Show the settings that services would have, and where each comes from",
		Long: "Show what a start would take from the command line, the environment, the file and the defaults. Secrets\n" +
			"are not shown; what is computed of other settings where it is not given is.",
		Example: "  parley config show --config /etc/parley/parley.yaml\n" +
			"  parley config show --for bot-worker --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			s := c.binder.read(cmd)
			targets, wrong, err := c.targets(cmd, s, args)
			if err != nil {
				return &usageError{err}
			}
			if err := append(s.faults, wrong...).orNil(); err != nil {
				return err
			}
			var all []shownSetting
			for _, t := range targets {
				all = append(all, t.shown()...)
			}
			return show(&clientConfig{JSON: c.json}, cmd, all, func(w io.Writer, all []shownSetting) {
				row(w, "SERVICE", "SETTING", "VALUE", "SOURCE")
				for _, s := range all {
					row(w, s.Service, s.Name, s.Value, s.Source)
				}
			})
		},
	}
	c.bind(cmd)
	return cmd
}

func (t target) shown() []shownSetting {
	computed := t.flags.computed()
	var all []shownSetting
	t.cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == configFlag {
			return
		}
		s := shownSetting{t.name, f.Name, f.Value.String(), "default"}
		if from, set := t.from[f.Name]; set {
			s.Source = from.source
		}
		switch {
		case isSecret(f) && s.Value != "":
			s.Value = "[redacted]"
		case s.Value == "" || s.Value == "[]":
			s.Value = computed[f.Name]
		}
		all = append(all, s)
	})
	return all
}
