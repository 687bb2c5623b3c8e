package main

import (
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
// default; an empty variable counts as unset. A flag that markSecret marked may come from a file of its own that
// PARLEY_<FLAG>_FILE names.

const (
	configFlag       = "config"
	envPrefix        = "PARLEY_"
	envFileSuffix    = "_FILE"
	secretAnnotation = "parley_secret"
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

// binder fills flags that the command line left alone.
type binder struct {
	environ  []string // "NAME=value"
	readFile func(path string) ([]byte, error)
	warnings io.Writer
}

// setting is a value for a flag with where it came from, for errors.
type setting struct {
	source string // "environment PARLEY_X"
	values []string
}

// bind fills the flags of the command that is about to run.
func (b *binder) bind(cmd *cobra.Command) error {
	known := allFlags(cmd.Root())
	env, err := b.environment(known)
	if err != nil {
		return err
	}
	file, err := b.file(cmd, env, known)
	if err != nil {
		return err
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed {
			return
		}
		for _, from := range []map[string]setting{env, file} {
			if s, ok := from[f.Name]; ok {
				failed = s.apply(f)
				return
			}
		}
	})
	return failed
}

// file reads the file that --config or its variable names, if any.
func (b *binder) file(cmd *cobra.Command, env map[string]setting, known map[string]*pflag.Flag) (map[string]setting, error) {
	path, source := "", "--"+configFlag
	if f := cmd.Flags().Lookup(configFlag); f != nil && f.Changed {
		path = f.Value.String()
	} else if s, ok := env[configFlag]; ok {
		path, source = s.values[0], s.source
	}
	if path == "" {
		return nil, nil
	}
	data, err := b.readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return parseConfigFile(path, data, known)
}

// environment finds the settings in the environment and warns of variables
// that are no flag of any command.
func (b *binder) environment(known map[string]*pflag.Flag) (map[string]setting, error) {
	flagOf := make(map[string]string, len(known))
	for name := range known {
		flagOf[envName(name)] = name
	}
	found := map[string]setting{}
	fromFile := map[string]string{} // flag -> variable that names its file
	for _, entry := range b.environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		if flag, ok := flagOf[name]; ok {
			found[flag] = setting{source: "environment " + name, values: []string{value}}
			continue
		}
		flag := flagOf[strings.TrimSuffix(name, envFileSuffix)]
		switch {
		case flag != "" && isSecret(known[flag]):
			fromFile[flag] = name + "=" + value
		case !isServiceLink(name):
			fmt.Fprintf(b.warnings, "parley: warning: environment %s is no flag of any command%s\n", name, suggestion(name, flagOf))
		}
	}
	for flag, entry := range fromFile {
		name, path, _ := strings.Cut(entry, "=")
		if _, both := found[flag]; both {
			return nil, fmt.Errorf("environment %s and %s are both set: unset one", envName(flag), name)
		}
		data, err := b.readFile(path)
		if err != nil {
			return nil, fmt.Errorf("environment %s: %w", name, err)
		}
		found[flag] = setting{source: "environment " + name, values: []string{strings.TrimRight(string(data), "\r\n")}}
	}
	return found, nil
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
