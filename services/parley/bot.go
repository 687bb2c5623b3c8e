package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
	"github.com/parleyhq/parley/services/ops"
)

func newBotCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("bot", "Manage bots: what answers user messages",
		newBotCreate(c),
		newBotUpdate(c),
		newList(c, "List bots", "/bots", "ID\tKIND\tSTATE\tNAME", func(b ops.Bot) []any {
			return []any{b.ID, b.Kind, pausedState(b.Paused), b.Name}
		}),
		newBotShow(c),
		newPause(c, "Run it for nobody for now; messages wait, in order", "/bots", printBot),
		newResume(c, "Run it again, for what waited first", "/bots", printBot),
		c.newDelete("a bot that serves no channel any more", "/bots"),
		newBotCheck(c),
	)
}

// botFlags are a bot's settings on the command line.
type botFlags struct{ kind, file, name string }

func (f *botFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "kind", "", "`KIND` of bot: echo or flow (default flow with --file, else echo)")
	cmd.Flags().StringVar(&f.file, "file", "", "`FILE` with the YAML of a flow")
	cmd.Flags().StringVar(&f.name, "name", "", "`NAME` for people")
}

// change takes up the flags that were given. A flow is checked here before it
// is sent, so that mistakes are named with the file and the line.
func (f *botFlags) change(cmd *cobra.Command, b *ops.Bot) error {
	if cmd.Flags().Changed("name") {
		b.Name = f.name
	}
	if f.file != "" {
		text, err := os.ReadFile(f.file)
		if err != nil {
			return fmt.Errorf("--file: %w", err)
		}
		if _, err := flow.Parse(f.file, text); err != nil {
			return fmt.Errorf("the flow has mistakes:\n%w", err)
		}
		b.Kind, b.Flow = registry.BotFlow, string(text)
	}
	if f.kind != "" {
		b.Kind = f.kind
	}
	if b.Kind == "" {
		b.Kind = registry.BotEcho
	}
	return nil
}

func newBotCreate(c *clientConfig) *cobra.Command {
	var f botFlags
	cmd := &cobra.Command{
		Use: "create ID", Short: "Create a bot", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			b := ops.Bot{ID: args[0]}
			if err := f.change(cmd, &b); err != nil {
				return err
			}
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: "/bots", body: b}, printBot)
		}),
	}
	f.bind(cmd)
	return cmd
}

func newBotUpdate(c *clientConfig) *cobra.Command {
	var f botFlags
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change what is given, such as the flow", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			var b ops.Bot
			etag, err := o.do(cmd.Context(), opsCall{method: http.MethodGet, path: botPath(args[0])}, &b)
			if err != nil {
				return err
			}
			if err := f.change(cmd, &b); err != nil {
				return err
			}
			if b.Kind != registry.BotFlow {
				b.Flow = ""
			}
			return call(c, cmd, o, opsCall{method: http.MethodPut, path: botPath(args[0]), body: b, ifMatch: etag}, printBot)
		}),
	}
	f.bind(cmd)
	return cmd
}

func newBotShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a bot, with its flow", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: botPath(args[0])}, func(w io.Writer, b ops.Bot) {
				printBot(w, b)
				if b.Flow != "" {
					fmt.Fprintf(w, "\n%s", b.Flow)
				}
			})
		}),
	}
}

// newBotCheck needs no server.
func newBotCheck(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Check the YAML of a flow, here; names the line of each mistake", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			def, err := flow.Parse(args[0], text)
			if c.JSON {
				return errors.Join(printCheck(cmd, def, err), err)
			}
			if err != nil {
				return fmt.Errorf("the flow has mistakes:\n%w", err)
			}
			for _, w := range def.Warnings() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s:%s (warning)\n", args[0], w)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is a good flow\n", args[0])
			return nil
		},
	}
}

// flowCheck is what `bot check --json` prints.
type flowCheck struct {
	OK       bool           `json:"ok"`
	Errors   []flow.Problem `json:"errors,omitempty"`
	Warnings []flow.Problem `json:"warnings,omitempty"`
}

func printCheck(cmd *cobra.Command, def *flow.Definition, err error) error {
	result := flowCheck{OK: err == nil}
	if bad, ok := errors.AsType[*flow.ParseError](err); ok {
		result.Errors = bad.Problems
	} else if def != nil {
		result.Warnings = def.Warnings()
	}
	return show(&clientConfig{JSON: true}, cmd, result, nil)
}

// checkFlow is the registry's check of a flow: its problems name the line.
func checkFlow(botID string, yaml []byte) error {
	_, err := flow.Parse(botID, yaml)
	bad, ok := errors.AsType[*flow.ParseError](err)
	if !ok {
		return err
	}
	var problems chat.Problems
	for _, p := range bad.Problems {
		problems.Add("", fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Detail))
	}
	return problems.Err()
}

func botPath(id string) string { return "/bots/" + url.PathEscape(id) }

func printBot(w io.Writer, b ops.Bot) {
	field(w, "id", b.ID)
	field(w, "kind", b.Kind)
	field(w, "name", b.Name)
	field(w, "state", pausedState(b.Paused))
	field(w, "revision", b.Revision)
}
