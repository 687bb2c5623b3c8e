package main

import (
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newChannelCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("channel", "Manage channels: what applications post their users' messages to",
		newChannelCreate(c),
		newList(c, "List channels", "/channels", "ID\tBOT\tSTATE\tNAME", func(ch ops.Channel) []any {
			return []any{ch.ID, ch.BotID, pausedState(ch.Paused), ch.Name}
		}),
		newChannelShow(c),
		newPause(c, "Answer nothing for now; what is accepted waits, in order", "/channels", printChannel),
		newResume(c, "Answer again, what waited first", "/channels", printChannel),
		c.newDelete("a channel that has no endpoints and tokens any more", "/channels"),
	)
}

func newChannelCreate(c *clientConfig) *cobra.Command {
	var in ops.Channel
	cmd := &cobra.Command{
		Use: "create ID --bot BOT", Short: "Create a channel", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			in.ID = args[0]
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: "/channels", body: in}, printChannel)
		}),
	}
	cmd.Flags().StringVar(&in.BotID, "bot", "", "id of the `BOT` that answers (required)")
	cmd.Flags().StringVar(&in.Name, "name", "", "`NAME` for people")
	requireFlags(cmd, "bot")
	return cmd
}

func newChannelShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a channel", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: "/channels/" + url.PathEscape(args[0])}, printChannel)
		}),
	}
}

func printChannel(w io.Writer, ch ops.Channel) {
	field(w, "id", ch.ID)
	field(w, "bot", ch.BotID)
	field(w, "name", ch.Name)
	field(w, "state", pausedState(ch.Paused))
	field(w, "revision", ch.Revision)
}

// requireFlags panics on a flag that doesn't exist.
func requireFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err)
		}
	}
}
