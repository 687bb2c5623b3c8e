package main

import "github.com/spf13/cobra"

// newRoot builds the command tree. Subcommands set no PersistentPreRun of
// their own: the root's binds their flags to the environment and the file.
func newRoot(b *binder) *cobra.Command {
	services, flags := serviceCommands()
	root := &cobra.Command{
		Use:           "parley",
		Short:         "Parley is a queue-backed webhook channel for chatbots",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetVersionTemplate("parley {{.Version}}\n")
	client := &clientConfig{}
	root.PersistentFlags().String(configFlag, "", "YAML `FILE` whose keys are flags (also "+envName(configFlag)+")")
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"run", "Run it:", services},
		{"configure", "Configure it:", []*cobra.Command{
			newApplyCommand(client),
			newChannelCommand(client),
			newEndpointCommand(client),
			newBotCommand(client),
			newTokenCommand(client),
			newConfigCommand(b, flags),
		}},
		{"watch", "Watch it:", []*cobra.Command{
			newStatusCommand(client),
			newTraceCommand(client),
			newAttemptsCommand(client),
			newConversationCommand(client),
			newLaneCommand(client),
			newDeadCommand(client),
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
			newManCommand(),
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
	addExamples(root)
	addCompletion(root, b, client)
	return root
}
