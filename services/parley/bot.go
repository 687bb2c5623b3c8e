package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

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
		newRotate(c, "the bot", "/bots", printBot),
		newPause(c, "Run it for nobody for now; messages wait, in order", "/bots", printBot),
		newResume(c, "Run it again, for what waited first", "/bots", printBot),
		c.newDelete("a bot that serves no channel any more", "/bots"),
		newBotCheck(c),
	)
}

// botFlags are a bot's settings on the command line.
type botFlags struct {
	in      ops.Bot
	file    string
	sending sendingFlags
}

func (f *botFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.in.Kind, "kind", "", "`KIND` of bot: echo, flow or http (default flow with --file, else echo)")
	markValues(flags, "kind", "echo", "flow", "http")
	flags.StringVar(&f.file, "file", "", "`FILE` with the YAML of a flow")
	flags.StringVar(&f.in.Name, "name", "", "`NAME` for people")
	flags.StringVar(&f.in.URL, "url", "", "`URL` that an http bot's turns are posted to")
	flags.StringSliceVar(&f.in.Secrets, "secret", nil, "signing `SECRET` of an http bot (whsec_…), the newest first; may be repeated (default: one is made, and shown once)")
	flags.StringSliceVar(&f.in.Retry, "retry", nil, "`DELAYS` between attempts at a turn of an http bot, such as 1s,5s,30s")
	flags.StringVar(&f.in.Timeout, "timeout", "", "`TIME` that an http bot has for an answer, 1s to 60s (default 15s)")
	flags.IntVar(&f.in.MaxInFlight, "max-in-flight", 0, "`NUMBER` of turns under way at once at an http bot, 0 for the default")
	flags.StringVar(&f.in.Fallback, "fallback", "", "`TEXT` that is sent where all attempts at an http bot failed (default: the turn becomes a dead letter)")
	markSecret(flags, "secret")
	f.sending.bind(flags)
}

// change takes up the flags that were given. A flow is checked here before it
// is sent, so that mistakes are named with the file and the line.
func (f *botFlags) change(cmd *cobra.Command, b *ops.Bot) error {
	for name, set := range map[string]func(){
		"name":          func() { b.Name = f.in.Name },
		"url":           func() { b.URL = f.in.URL },
		"secret":        func() { b.Secrets = f.in.Secrets },
		"retry":         func() { b.Retry = f.in.Retry },
		"timeout":       func() { b.Timeout = f.in.Timeout },
		"max-in-flight": func() { b.MaxInFlight = f.in.MaxInFlight },
		"fallback":      func() { b.Fallback = f.in.Fallback },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
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
	if f.in.Kind != "" {
		b.Kind = f.in.Kind
	}
	if b.Kind == "" {
		b.Kind = registry.BotEcho
	}
	return f.sending.change(cmd.Flags(), &b.Sending)
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
			former := b.Kind
			if err := f.change(cmd, &b); err != nil {
				return err
			}
			switch { // what the former kind had goes with it
			case b.Kind == former:
			case former == registry.BotFlow:
				b.Flow = ""
			case former == registry.BotHTTP:
				b.URL, b.Sending, b.Retry, b.Timeout, b.MaxInFlight, b.Fallback = "", ops.Sending{}, nil, "", 0, ""
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
	if b.Kind == registry.BotHTTP {
		field(w, "url", b.URL)
		printSending(w, b.Sending)
		field(w, "retry", strings.Join(b.Retry, ", "))
		field(w, "timeout", b.Timeout)
		field(w, "max in flight", fmt.Sprint(b.MaxInFlight))
		field(w, "fallback", b.Fallback)
	}
	field(w, "state", pausedState(b.Paused))
	field(w, "revision", b.Revision)
}
