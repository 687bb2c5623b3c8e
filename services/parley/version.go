package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version and commit are set by the linker:
// -ldflags "-X main.version=v1.2.3 -X main.commit=0123abc".
var (
	version = "dev"
	commit  string
)

// build is what this binary is made of.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the tree had changes beside the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	b.Commit = cmp.Or(commit, b.Commit)
	return b
}

func newVersionCommand() *cobra.Command {
	c := &clientConfig{}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what the binary was built of",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(c, cmd, thisBuild(), func(w io.Writer, b build) {
				fmt.Fprintln(w, "parley "+b.Version)
				field(w, "commit", b.Commit)
				if b.Modified {
					field(w, "modified", "yes")
				}
				field(w, "go", b.Go)
				field(w, "platform", b.Platform)
			})
		},
	}
	cmd.Flags().BoolVar(&c.JSON, "json", false, "print JSON instead of a table")
	return cmd
}
