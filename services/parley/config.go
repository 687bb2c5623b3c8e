package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every flag is also PARLEY_<FLAG> in the environment (dashes become
// underscores) and a key of the file that --config names. The command line
// wins over the environment, the environment over the file, the file over the
// default; an empty variable counts as unset. A flag that markSecret marked may
// come from a file of its own that PARLEY_<FLAG>_FILE names. What is wrong is
// told all at once.

const (
	configFlag       = "config"
	envPrefix        = "PARLEY_"
	envFileSuffix    = "_FILE"
	secretAnnotation = "parley_secret"
	valuesAnnotation = "parley_values"

	defaultAnnotation = "parley_default"
)

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// markSecret lets a flag be read from the file that PARLEY_<FLAG>_FILE names.
// It panics on a flag that doesn't exist.
func markSecret(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := flags.SetAnnotation(name, secretAnnotation, []string{"true"}); err != nil {
			panic(err)
		}
	}
}

// markValues says which values a flag takes, for completion and the reference.
// It panics on a flag that doesn't exist.
func markValues(flags *pflag.FlagSet, name string, values ...string) {
	if err := flags.SetAnnotation(name, valuesAnnotation, values); err != nil {
		panic(err)
	}
}

// markDefault says in words what a default is that differs between machines.
// It panics on a flag that doesn't exist.
func markDefault(flags *pflag.FlagSet, name, text string) {
	if err := flags.SetAnnotation(name, defaultAnnotation, []string{text}); err != nil {
		panic(err)
	}
}

// binder fills flags that the command line left alone.
type binder struct {
	environ  []string // "NAME=value"
	readFile func(path string) ([]byte, error)
	warnings io.Writer
}

// faults are all that is wrong with the settings, each on a line of its own.
type faults []error

func (f faults) Error() string { return errors.Join(f...).Error() }

func (f faults) Unwrap() []error { return f }

// orNil is nil where nothing is wrong.
func (f faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// setting is a value for a flag, with where it stands.
type setting struct {
	source string // "environment PARLEY_X", "parley.yaml:3: x"
	file   string // where the value can be read: the secret's or the configuration's file
	values []string
	wrong  bool // it can't be read, or the flag doesn't take it; that has been told
}

// settings are all that the environment and the file have.
type settings struct {
	env, file map[string]setting // by flag
	faults    faults
	unknown   []string // variables that are no flag, each as a sentence
}

// bind fills the flags of the command that is about to run.
func (b *binder) bind(cmd *cobra.Command) error {
	s := b.read(cmd)
	for _, unknown := range s.unknown {
		fmt.Fprintln(b.warnings, "parley: warning: "+unknown)
	}
	_, wrong := s.settle(cmd.Flags())
	return append(s.faults, wrong...).orNil()
}

// read finds the settings in the environment and the file.
func (b *binder) read(cmd *cobra.Command) *settings {
	known := allFlags(cmd.Root())
	s := &settings{}
	b.environment(s, known)
	b.file(s, cmd, known)
	return s
}

// of finds a flag's setting: the environment wins over the file.
func (s *settings) of(flag string) (setting, bool) {
	if found, ok := s.env[flag]; ok {
		return found, true
	}
	found, ok := s.file[flag]
	return found, ok
}

// settle fills the flags that the command line left alone, and says where the
// values of those that are not at their defaults stand.
func (s *settings) settle(flags *pflag.FlagSet) (map[string]setting, faults) {
	from := map[string]setting{}
	var wrong faults
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			from[f.Name] = setting{source: "command line"}
			return
		}
		found, ok := s.of(f.Name)
		if !ok {
			return
		}
		if !found.wrong {
			if err := found.apply(f); err != nil {
				wrong = append(wrong, err)
				found.wrong = true
			}
		}
		from[f.Name] = found
	})
	return from, wrong
}

// file reads the file that --config or its variable names, if any.
func (b *binder) file(s *settings, cmd *cobra.Command, known map[string]*pflag.Flag) {
	path, source := "", "--"+configFlag
	if f := cmd.Flags().Lookup(configFlag); f != nil && f.Changed {
		path = f.Value.String()
	} else if found, ok := s.env[configFlag]; ok {
		path, source = found.values[0], found.source
	}
	if path == "" {
		return
	}
	data, err := b.readFile(path)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: %w", source, err))
		return
	}
	var wrong faults
	s.file, wrong = parseConfigFile(path, data, known)
	s.faults = append(s.faults, wrong...)
}

// environment finds the settings in the environment, and the variables that
// are no flag of any command.
func (b *binder) environment(s *settings, known map[string]*pflag.Flag) {
	flagOf := make(map[string]string, len(known))
	for name := range known {
		flagOf[envName(name)] = name
	}
	s.env = map[string]setting{}
	fromFile := map[string]string{} // flag -> path
	for _, entry := range b.environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		if flag, ok := flagOf[name]; ok {
			s.env[flag] = setting{source: "environment " + name, values: []string{value}}
			continue
		}
		flag := flagOf[strings.TrimSuffix(name, envFileSuffix)]
		switch {
		case flag != "" && isSecret(known[flag]):
			fromFile[flag] = value
		case !isServiceLink(name):
			s.unknown = append(s.unknown, "environment "+name+" is no flag of any command"+suggestion(name, flagOf))
		}
	}
	for _, flag := range slices.Sorted(maps.Keys(fromFile)) {
		name, path := envName(flag)+envFileSuffix, fromFile[flag]
		if _, both := s.env[flag]; both {
			s.faults = append(s.faults, fmt.Errorf("environment %s and %s are both set: unset one", envName(flag), name))
			continue
		}
		data, err := b.readFile(path)
		if err != nil {
			s.faults = append(s.faults, fmt.Errorf("environment %s: %w", name, err))
		}
		s.env[flag] = setting{
			source: "environment " + name, file: path, values: []string{strings.TrimRight(string(data), "\r\n")}, wrong: err != nil,
		}
	}
}

// apply gives the flag its value.
func (s setting) apply(f *pflag.Flag) error {
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok && len(s.values) != 1 {
		err = list.Replace(s.values)
	} else if len(s.values) == 1 {
		err = f.Value.Set(s.values[0])
	} else {
		err = fmt.Errorf("takes one value, not a list of %d", len(s.values))
	}
	switch {
	case err != nil && isSecret(f):
		return fmt.Errorf("%s: not a value that --%s takes", s.source, f.Name)
	case err != nil:
		return fmt.Errorf("%s: not a value that --%s (%s) takes: %w", s.source, f.Name, f.Value.Type(), err)
	}
	f.Changed = true
	return nil
}

// allFlags are the flags of every command of the tree by name.
func allFlags(root *cobra.Command) map[string]*pflag.Flag {
	all := map[string]*pflag.Flag{}
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, set := range []*pflag.FlagSet{c.LocalFlags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && f.Name != "version" {
					all[f.Name] = f
				}
			})
		}
		for _, child := range c.Commands() {
			visit(child)
		}
	}
	visit(root)
	return all
}

func isSecret(f *pflag.Flag) bool { return len(f.Annotations[secretAnnotation]) > 0 }

// serviceLink is what Kubernetes puts into the environment of every pod beside
// a service named "parley" or "parley-…".
var serviceLink = regexp.MustCompile(`^PARLEY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_[A-Z]+)?)?)$`)

func isServiceLink(name string) bool { return serviceLink.MatchString(name) }

// suggestion names the variable that differs least, if one is near.
func suggestion(name string, flagOf map[string]string) string {
	return nearest(name, slices.Collect(maps.Keys(flagOf)))
}

// nearest suggests the word that differs least from a name, if one is near.
func nearest(name string, words []string) string {
	near := slices.DeleteFunc(slices.Sorted(slices.Values(words)), func(word string) bool { return distance(name, word) > 2 })
	if len(near) == 0 {
		return ""
	}
	return ": did you mean " + slices.MinFunc(near, func(a, b string) int { return distance(name, a) - distance(name, b) }) + "?"
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
