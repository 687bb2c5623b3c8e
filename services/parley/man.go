package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// newManCommand writes the man pages, which packages hold.
func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a man page for each command into a directory",
		Long:   "Write a man page for each command into a directory, which is made. SOURCE_DATE_EPOCH sets their date.",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("the directory of the man pages: %w", err)
			}
			root := cmd.Root()
			walk(root, func(c *cobra.Command) {
				c.DisableAutoGenTag = true
				for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
					set.VisitAll(func(f *pflag.Flag) { f.DefValue = defaultOf(f) })
				}
			})
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "parley " + version, Manual: "Parley"}, args[0])
		},
	}
}

// defaultOf is a flag's default, in words where it differs between machines.
func defaultOf(f *pflag.Flag) string {
	if text := f.Annotations[defaultAnnotation]; len(text) > 0 {
		return text[0]
	}
	return f.DefValue
}
