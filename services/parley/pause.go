package main

import (
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

// newPause makes the command that pauses an object of a collection.
func newPause[T any](c *clientConfig, short, collection string, write func(io.Writer, T)) *cobra.Command {
	var in ops.Reason
	cmd := &cobra.Command{
		Use: "pause ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: collection + "/" + url.PathEscape(args[0]) + "/pause", body: in}, write)
		}),
	}
	cmd.Flags().StringVar(&in.Reason, "reason", "", "`WHY`, for those who ask")
	return cmd
}

// newResume makes the command that ends a pause.
func newResume[T any](c *clientConfig, short, collection string, write func(io.Writer, T)) *cobra.Command {
	return &cobra.Command{
		Use: "resume ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: collection + "/" + url.PathEscape(args[0]) + "/resume"}, write)
		}),
	}
}

// pausedState says whether a channel or a bot works.
func pausedState(why string) string {
	if why == "" {
		return "enabled"
	}
	return "paused: " + why
}
