package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/services/ops"
)

func newConversationErase(c *clientConfig) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "erase CHANNEL CONVERSATION", Short: "Erase a conversation: its journal, session, dead letters and all that waits", Args: cobra.ExactArgs(2),
		Long: "Erase a conversation: its journal, its session, its dead letters and all messages of it that wait, none of which becomes a dead letter.\n" +
			"Nothing brings them back. Without --yes it says what there is, and erases nothing.",
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			query := url.Values{"channel": {args[0]}, "conversation": {args[1]}, "dryRun": {strconv.FormatBool(!yes)}}
			return call(c, cmd, o, opsCall{method: http.MethodDelete, path: "/conversations?" + query.Encode()}, printErased)
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "erase it")
	return cmd
}

func printErased(w io.Writer, e ops.Erased) {
	heading := "erased"
	if e.DryRun {
		heading = "would erase"
	}
	session := 0
	if e.Session {
		session = 1
	}
	row(w, heading, e.ChannelID, e.ConversationID)
	row(w, "  journal entries", e.JournalEntries)
	row(w, "  dead letters", e.DeadLetters)
	row(w, "  parked messages", e.ParkedMessages)
	row(w, "  queued messages", e.QueuedMessages)
	row(w, "  sessions", session)
	switch {
	case e.DryRun:
		fmt.Fprintln(w, "\nnothing is erased: give --yes to erase it")
	case e.PendingLanes+e.PendingQueues > 0:
		fmt.Fprintf(w, "\nnot complete: %d lanes whose owner does it as soon as it can, %d work queues that still have something; run it again\n", e.PendingLanes, e.PendingQueues)
	}
}
