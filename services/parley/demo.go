package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/deploy/samples"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// What the demo registers.
const (
	demoBot      = "pizzeria"
	demoChannel  = "demo"
	demoEndpoint = "demo-customer"
)

func newDemoCommand(f *serviceFlags) *cobra.Command {
	oneShot := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything with a sample bot and a sample customer, and play a conversation",
		Long: "Run everything in one process, like serve, on a new data directory that is removed at the end (unless\n" +
			"--data-dir is given); register a sample bot, a channel and an endpoint on this machine; play a conversation\n" +
			"through them and print both sides. Then stay up, until Ctrl-C, to try things.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, f, oneShot) },
	}
	f.addTo(cmd)
	f.addServeTo(cmd)
	f.addPublicTo(cmd)
	f.addOpsTo(cmd)
	cmd.Flags().BoolVar(&oneShot, "oneshot", false, "end after the conversation")
	for flag, value := range map[string]string{"data-dir": "", "log-format": "console", "log-level": "warn"} {
		fl := cmd.Flags().Lookup(flag)
		fl.DefValue = value
		if err := fl.Value.Set(value); err != nil {
			panic(err)
		}
	}
	return cmd
}

func runDemo(cmd *cobra.Command, f *serviceFlags, oneShot bool) (err error) {
	if f.dataDir == "" {
		if f.dataDir, err = os.MkdirTemp("", "parley-demo-"); err != nil {
			return fmt.Errorf("the demo's data directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dataDir)) }()
	}
	token, err := f.ensureOpsToken()
	if err != nil {
		return err
	}
	f.opsToken = token.Reveal()
	f.allowCIDRs, f.allowPorts = []string{"127.0.0.0/8"}, "any" // the customer is on this machine
	customer, err := newDemoCustomer(func(reason string) { fmt.Fprintln(cmd.ErrOrStderr(), "refused a delivery: "+reason) })
	if err != nil {
		return err
	}
	cfg := demoConfig{
		ChannelID: demoChannel, Customer: customer, Script: pizzaScript(), Out: cmd.OutOrStdout(), OneShot: oneShot,
		ConversationID: "demo-" + strconv.FormatInt(time.Now().UnixMilli(), 36),
	}
	play := func(ctx context.Context, p *process) error {
		cfg.PublicURL, cfg.AdminURL = p.at.PublicURL, p.at.AdminURL
		if cfg.Token, err = registerDemo(ctx, p.registry, customer); err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		served, stop := context.WithCancel(ctx)
		g.Go(func() error { return customer.run(served) })
		g.Go(func() error {
			defer stop()
			return playDemo(ctx, cfg)
		})
		return g.Wait()
	}
	return runProcess(cmd.Context(), f, []role{addOps, addIngest, addBotWorker, addDeliveryWorker}, play)
}

// registerDemo puts the sample bot, a channel and the customer's endpoint into
// the configuration and returns a token for the channel.
func registerDemo(ctx context.Context, r *registry.Registry, customer *demoCustomer) (chat.Secret, error) {
	if _, _, err := r.PutBot(ctx, chat.Bot{ID: demoBot, Kind: "flow", Name: "A pizzeria", Flow: string(samples.Pizza())}, registry.Any); err != nil {
		return "", fmt.Errorf("registering the demo's bot: %w", err)
	}
	if _, err := r.PutChannel(ctx, chat.Channel{ID: demoChannel, BotID: demoBot, Name: "The demo"}, registry.Any); err != nil {
		return "", fmt.Errorf("registering the demo's channel: %w", err)
	}
	endpoint, _, err := r.PutEndpoint(ctx, chat.Endpoint{
		ID: demoEndpoint, ChannelID: demoChannel, URL: customer.url(), VerifyToken: "demo-verify-token",
	}, registry.Any)
	if err != nil {
		return "", fmt.Errorf("registering the demo's endpoint: %w", err)
	}
	if err := customer.trust(endpoint.Secrets...); err != nil {
		return "", err
	}
	clear, token := registry.NewToken(demoChannel, "demo", time.Now())
	if _, err := r.PutToken(ctx, token, registry.Any); err != nil {
		return "", fmt.Errorf("registering the demo's token: %w", err)
	}
	if _, err := r.CatchUp(ctx); err != nil {
		return "", fmt.Errorf("waiting for the demo's configuration: %w", err)
	}
	return chat.Secret(clear), nil
}
