package main

import "github.com/spf13/cobra"

func newConversationCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("conversation", "Erase a conversation",
		newConversationErase(c))
}
