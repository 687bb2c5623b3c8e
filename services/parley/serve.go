package main

import (
	"os"

	"github.com/spf13/cobra"
)

// serviceCommands makes the commands that run services; flags has those of each
// by its name.
func serviceCommands() (commands []*cobra.Command, flags map[string]*serviceFlags) {
	flags = map[string]*serviceFlags{}
	for _, newCommand := range []func(*serviceFlags) *cobra.Command{
		newServeCommand, newDemoCommand, newIngestCommand, newBotWorkerCommand, newDeliveryWorkerCommand, newOpsCommand,
	} {
		f := &serviceFlags{}
		c := newCommand(f)
		commands, flags[c.Name()] = append(commands, c), f
	}
	return commands, flags
}

func newServeCommand(f *serviceFlags) *cobra.Command {
	paused := false
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run everything in one process",
		Long: "Run everything in one process: NATS with JetStream in --data-dir (unless --nats-url is given), the\n" +
			"once-ledger beside it (unless --redis-url is given), ingest, both workers and the ops API. The token of\n" +
			"the ops API is in the file ops-token of the data directory.\n\n" +
			"With --paused it takes user messages and runs no workers: they wait, in order, for a start without it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := f.ensureOpsToken()
			if err != nil {
				return err
			}
			f.opsToken = token.Reveal()
			roles := []role{addOps, addIngest, addBotWorker, addDeliveryWorker}
			if paused {
				roles = []role{addOps, addIngest}
			}
			return runProcess(cmd.Context(), f, roles, nil)
		},
	}
	cmd.Flags().BoolVar(&paused, "paused", false, "take messages and run no workers: they wait until a start without this")
	f.addTo(cmd)
	f.addServeTo(cmd)
	f.addPublicTo(cmd)
	f.addOpsTo(cmd)
	f.addGuardTo(cmd)
	f.addWorkerTo(cmd)
	f.addDeliveryTo(cmd)
	return cmd
}

func newIngestCommand(f *serviceFlags) *cobra.Command {
	return newServiceCommand(f, "ingest", "Run the ingest service: take user messages", addIngest, (*serviceFlags).addPublicTo)
}

func newBotWorkerCommand(f *serviceFlags) *cobra.Command {
	return newServiceCommand(f, "bot-worker", "Run a bot-worker: run bots on user messages", addBotWorker, (*serviceFlags).addWorkerTo, (*serviceFlags).addGuardTo)
}

func newDeliveryWorkerCommand(f *serviceFlags) *cobra.Command {
	return newServiceCommand(f, "delivery-worker", "Run a delivery-worker: post bot messages to endpoints", addDeliveryWorker, (*serviceFlags).addWorkerTo, (*serviceFlags).addDeliveryTo, (*serviceFlags).addGuardTo)
}

func newOpsCommand(f *serviceFlags) *cobra.Command {
	return newServiceCommand(f, "ops", "Run the ops service: the ops API", addOps, (*serviceFlags).addOpsTo, (*serviceFlags).addGuardTo)
}

// newServiceCommand makes the command of one service as a process of its own.
func newServiceCommand(f *serviceFlags, use, short string, r role, more ...func(*serviceFlags, *cobra.Command)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runProcess(cmd.Context(), f, []role{r}, nil)
		},
	}
	f.addTo(cmd)
	for _, add := range more {
		add(f, cmd)
	}
	return cmd
}

func pid() int { return os.Getpid() }
