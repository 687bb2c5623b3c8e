package main

import (
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newTokenCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("token", "Manage access tokens: for a channel, or for the ops API",
		newTokenCreate(c),
		newList(c, "List access tokens, without their secrets", "/tokens", "ID\tOPENS\tCREATED\tNAME", func(t ops.Token) []any {
			return []any{t.ID, opens(t), when(t.CreatedAt), t.Name}
		}),
		c.newDelete("an access token; it opens nothing from then on", "/tokens"),
	)
}

func newTokenCreate(c *clientConfig) *cobra.Command {
	var in ops.NewToken
	cmd := &cobra.Command{
		Use: "create --channel CHANNEL | --ops", Short: "Create an access token; shows it, this once", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: "/tokens", body: in}, func(w io.Writer, t ops.Token) {
				field(w, "token", t.Token+"  (keep it: it is not shown again)")
				field(w, "id", t.ID)
				field(w, "opens", opens(t))
				field(w, "name", t.Name)
				field(w, "limit", t.Limit)
				field(w, "revision", t.Revision)
			})
		}),
	}
	cmd.Flags().StringVar(&in.ChannelID, "channel", "", "id of the `CHANNEL` that it opens")
	cmd.Flags().BoolVar(&in.Ops, "ops", false, "it opens the ops API")
	cmd.Flags().StringVar(&in.Name, "name", "", "`NAME` for people")
	cmd.Flags().StringVar(&in.Limit, "rate-limit", "", "`RATE` at which messages are taken with it, such as 100/s:200, or off (default --limit-token of ingest)")
	cmd.MarkFlagsOneRequired("channel", "ops")
	cmd.MarkFlagsMutuallyExclusive("channel", "ops")
	return cmd
}

func opens(t ops.Token) string {
	if t.Ops {
		return "the ops API"
	}
	return "channel " + t.ChannelID
}

// when prints a time for people.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
