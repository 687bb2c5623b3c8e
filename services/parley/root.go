package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newRoot builds the command tree. Subcommands set no PersistentPreRun of
// their own: the root's binds their flags to the environment and the file.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "parley",
		Short:         "Parley is a queue-backed webhook channel for chatbots",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetVersionTemplate("parley {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	client := &clientConfig{}
	root.PersistentFlags().String(configFlag, "", "YAML `FILE` whose keys are flags (also "+envName(configFlag)+")")
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"run", "Run it:", []*cobra.Command{
			newServeCommand(),
			newDemoCommand(),
			newIngestCommand(),
			newBotWorkerCommand(),
			newDeliveryWorkerCommand(),
			newOpsCommand(),
		}},
		{"configure", "Configure it:", []*cobra.Command{
			newApplyCommand(client),
			newChannelCommand(client),
			newEndpointCommand(client),
			newBotCommand(client),
			newTokenCommand(client),
		}},
		{"watch", "Watch it:", []*cobra.Command{
			newStatusCommand(client),
			newTraceCommand(client),
			newAttemptsCommand(client),
			newConversationCommand(client),
			newLaneCommand(client),
			newDeadCommand(client),
			newConversationCommand(client),
			newReplayCommand(client),
			newAuditCommand(client),
			newHealthCommand(),
		}},
		{"try", "Try it:", []*cobra.Command{
			newSendCommand(),
			newListenCommand(),
			newBenchCommand(),
		}},
		{"", "", []*cobra.Command{
			newVersionCommand(),
			newBenchRelayCommand(),
			newBenchSinkCommand(),
		}},
	} {
		if group.id != "" && len(group.commands) > 0 {
			root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		}
		for _, c := range group.commands {
			c.GroupID = group.id
			root.AddCommand(c)
		}
	}
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "parley "+version)
			return err
		},
	}
}
