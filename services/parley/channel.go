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
		newChannelUpdate(c),
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
	bindChannel(cmd, &in, "id of the `BOT` that answers (required)")
	requireFlags(cmd, "bot")
	return cmd
}

func bindChannel(cmd *cobra.Command, in *ops.Channel, bot string) {
	flags := cmd.Flags()
	flags.StringVar(&in.BotID, "bot", "", bot)
	flags.StringVar(&in.Name, "name", "", "`NAME` for people")
	flags.StringVar(&in.Limit, "rate-limit", "", "`RATE` at which its messages are taken, such as 100/s:200, or off (default --limit-channel of ingest)")
	flags.StringVar(&in.ConversationLimit, "conversation-limit", "", "the same of each of its conversations (default --limit-conversation of ingest)")
}

// newChannelUpdate changes what is given and keeps the rest. It fails when
// somebody else changes the channel between its reading and its writing.
func newChannelUpdate(c *clientConfig) *cobra.Command {
	var in ops.Channel
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change the settings that are given, and no others", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			var ch ops.Channel
			path := "/channels/" + url.PathEscape(args[0])
			etag, err := o.do(cmd.Context(), opsCall{method: http.MethodGet, path: path}, &ch)
			if err != nil {
				return err
			}
			for name, field := range map[string]struct{ to, from *string }{
				"bot": {&ch.BotID, &in.BotID}, "name": {&ch.Name, &in.Name},
				"rate-limit": {&ch.Limit, &in.Limit}, "conversation-limit": {&ch.ConversationLimit, &in.ConversationLimit},
			} {
				if cmd.Flags().Changed(name) {
					*field.to = *field.from
				}
			}
			return call(c, cmd, o, opsCall{method: http.MethodPut, path: path, body: ch, ifMatch: etag}, printChannel)
		}),
	}
	bindChannel(cmd, &in, "id of the `BOT` that answers")
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
	field(w, "limit", ch.Limit)
	field(w, "conversation limit", ch.ConversationLimit)
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
