package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configReference is the page around the tables.
//
//go:embed config_reference.md.tmpl
var configReference string

// newReference prints docs/configuration.md, which `make generate` keeps.
func (c *configCommand) newReference() *cobra.Command {
	return &cobra.Command{
		Use: "reference", Short: "Print the reference of all settings, as Markdown", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeReference(cmd.OutOrStdout(), cmd.Root())
		},
	}
}

func writeReference(w io.Writer, root *cobra.Command) error {
	page, err := template.New("reference").Parse(configReference)
	if err != nil {
		return err
	}
	service, client := referenceOf(root)
	return page.Execute(w, map[string]any{"Services": service, "Clients": client})
}

// reference is a flag with the commands that take it.
type reference struct {
	*pflag.Flag
	commands []string
}

// referenceGroup are the flags that the same commands take.
type referenceGroup struct {
	Commands string
	Flags    []reference
}

// referenceOf finds the flags of services, grouped, and those of other commands.
func referenceOf(root *cobra.Command) (services []referenceGroup, clients []reference) {
	var ofServices []reference
	add := func(to *[]reference, f *pflag.Flag, command string) {
		if f.Name == "help" || f.Name == "version" || f.Name == configFlag {
			return
		}
		for i, r := range *to {
			if r.Name == f.Name && r.Usage == f.Usage {
				if !slices.Contains(r.commands, command) {
					(*to)[i].commands = append(r.commands, command)
				}
				return
			}
		}
		*to = append(*to, reference{f, []string{command}})
	}
	for _, name := range configurable {
		c, _, err := root.Find([]string{name})
		if err != nil {
			continue // there is a test that there is each
		}
		c.Flags().VisitAll(func(f *pflag.Flag) { add(&ofServices, f, name) })
	}
	walk(root, func(c *cobra.Command) {
		path := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		if c.Hidden || slices.Contains(configurable, path) || path == "demo" || c == root {
			return
		}
		for _, set := range []*pflag.FlagSet{c.LocalFlags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				if !f.Hidden {
					add(&clients, f, path)
				}
			})
		}
	})
	for _, r := range ofServices {
		commands := strings.Join(r.commands, ", ")
		at := slices.IndexFunc(services, func(g referenceGroup) bool { return g.Commands == commands })
		if at < 0 {
			at = len(services)
			services = append(services, referenceGroup{Commands: commands})
		}
		services[at].Flags = append(services[at].Flags, r)
	}
	slices.SortStableFunc(services, func(a, b referenceGroup) int {
		return len(b.Flags[0].commands) - len(a.Flags[0].commands)
	})
	slices.SortStableFunc(clients, func(a, b reference) int { return strings.Compare(a.Name, b.Name) })
	return services, clients
}

// Env is the flag's variable.
func (r reference) Env() string { return envName(r.Name) }

// Secret is whether it may be read from a file of its own.
func (r reference) Secret() bool { return isSecret(r.Flag) }

// Commands are those that take it.
func (r reference) Commands() string { return "`" + strings.Join(r.commands, "`, `") + "`" }

// Meaning is what the flag's help says, in one line.
func (r reference) Meaning() string {
	_, usage := pflag.UnquoteUsage(r.Flag)
	return usage
}

// Cell is the meaning in a cell of a table.
func (r reference) Cell() string {
	return strings.NewReplacer("|", `\|`, "<", `\<`).Replace(r.Meaning())
}

// forms say how values are written, by the placeholder of the help.
var forms = map[string]string{
	"ADDRESS":   "host:port; without a host: all of this machine's addresses; port 0: a free one",
	"SIZE":      "a size in bytes with a unit, such as 500MiB or 10GiB (1024-based)",
	"RATE":      "a number a second (/s) or minute (/m), with a burst behind a colon where it is another, or off",
	"MESSAGES":  "a whole number, 0 or more",
	"FILE":      "a path",
	"DIRECTORY": "a path",
	"TOKEN":     "16 characters or more",
	"PORTS":     "port numbers separated by commas, or any",
	"duration":  "a duration, such as 90s, 2m or 1h30m",
	"bool":      "true or false",
	"int":       "a whole number",
	"uint":      "a whole number, 0 or more",
	"strings":   "a list",
	"string":    "text",
}

// Form is how its value is written.
func (r reference) Form() string {
	if values := r.Annotations[valuesAnnotation]; len(values) > 0 {
		return "one of " + strings.Join(values, ", ")
	}
	name, _ := pflag.UnquoteUsage(r.Flag)
	if name == "" { // as pflag has it of a bool
		name = r.Value.Type()
	}
	if form, ok := forms[name]; ok {
		return form
	}
	if list, ok := r.Value.(pflag.SliceValue); ok && list != nil {
		return forms["strings"]
	}
	return "a " + name
}

// Default is the value without any setting, in words where there is none.
func (r reference) Default() string {
	if text := defaultOf(r.Flag); text != "" && text != "[]" {
		return shortDuration(text)
	}
	return "none"
}

// Line is the key with its default, commented out where that isn't a value.
func (r reference) Line() string {
	switch text := r.Default(); {
	case r.Secret():
		return fmt.Sprintf("# %s: give it in the file that %s%s names, or in %s", r.Name, r.Env(), envFileSuffix, r.Env())
	case text == "none" || len(r.Annotations[defaultAnnotation]) > 0:
		return "#" + r.Name + ":"
	default:
		return r.Name + ": " + text
	}
}

// shortDuration leaves out the zeroes that Go's form has at the end.
func shortDuration(text string) string {
	if trimmed, ok := strings.CutSuffix(text, "m0s"); ok {
		text = trimmed + "m"
	}
	if trimmed, ok := strings.CutSuffix(text, "h0m"); ok {
		text = trimmed + "h"
	}
	return text
}
