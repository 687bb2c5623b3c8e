package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/services/ops"
)

func newEndpointCommand(c *clientConfig) *cobra.Command {
	return c.newGroup("endpoint", "Manage endpoints: the URLs that a channel's bot messages are posted to",
		newEndpointCreate(c),
		newEndpointList(c),
		newEndpointShow(c),
		newEndpointUpdate(c),
		newEndpointDisable(c),
		newEndpointEnable(c),
		newRotate(c, "the customer", "/endpoints", printEndpoint),
		newEndpointTest(c),
		newPause(c, "Send nothing for now, apart from whether it is disabled; messages wait, in order", "/endpoints", printEndpoint),
		newResume(c, "Send again, what waited first, unless it is disabled", "/endpoints", printEndpoint),
		c.newDelete("an endpoint; messages that wait for it become dead letters", "/endpoints"),
	)
}

// endpointFlags are an endpoint's settings on the command line.
type endpointFlags struct {
	in          ops.Endpoint
	verifyToken string
	sending     sendingFlags
}

func (f *endpointFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.in.URL, "url", "", "`URL` that bot messages are posted to")
	flags.StringVar(&f.verifyToken, "verify-token", "", "`TOKEN` that is sent along in every body")
	flags.StringSliceVar(&f.in.Events, "event", nil, "`EVENT` that is sent: "+strings.Join(chat.Events(), ", ")+"; may be repeated (default message)")
	flags.StringSliceVar(&f.in.Retry, "retry", nil, "`DELAYS` between attempts, such as 1s,30s,5m")
	flags.StringVar(&f.in.Timeout, "timeout", "", "`TIME` that one attempt may take, 1s to 60s (default 15s)")
	flags.StringVar(&f.in.ExpireAfter, "expire-after", "", "`TIME` after which a message is not worth sending (default never)")
	flags.BoolVar(&f.in.Supersede, "supersede", false, "drop a message that still waits when a later user message has been processed")
	flags.StringVar(&f.in.OnExhausted, "on-exhausted", "", "what follows the last attempt: skip or hold (default skip)")
	flags.IntVar(&f.in.MaxInFlight, "max-in-flight", 0, "`NUMBER` of posts under way at once, 0 for the default")
	flags.StringVar(&f.in.RateLimit, "rate-limit", "", "`RATE` of posts by all workers together, such as 10/s, 30/m, or 10/s:20 with a burst, or off (default off)")
	flags.StringVar(&f.in.DisableAfter, "disable-after", "", "`TIME` for which it may do nothing but fail before it is disabled, or off (default the workers' --endpoint-disable-after)")
	markSecret(flags, "verify-token")
	markValues(flags, "event", chat.Events()...)
	markValues(flags, "on-exhausted", "skip", "hold")
	f.sending.bind(flags)
}

// change takes up the flags that were given.
func (f *endpointFlags) change(cmd *cobra.Command, e *ops.Endpoint) error {
	for name, set := range map[string]func(){
		"url":           func() { e.URL = f.in.URL },
		"verify-token":  func() { e.VerifyToken = &f.verifyToken },
		"event":         func() { e.Events = f.in.Events },
		"retry":         func() { e.Retry = f.in.Retry },
		"timeout":       func() { e.Timeout = f.in.Timeout },
		"expire-after":  func() { e.ExpireAfter = f.in.ExpireAfter },
		"supersede":     func() { e.Supersede = f.in.Supersede },
		"on-exhausted":  func() { e.OnExhausted = f.in.OnExhausted },
		"max-in-flight": func() { e.MaxInFlight = f.in.MaxInFlight },
		"disable-after": func() { e.DisableAfter = f.in.DisableAfter },
		"rate-limit":    func() { e.RateLimit = f.in.RateLimit },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return f.sending.change(cmd.Flags(), &e.Sending)
}

func newEndpointCreate(c *clientConfig) *cobra.Command {
	var (
		f       endpointFlags
		channel string
	)
	cmd := &cobra.Command{
		Use: "create [ID] --channel CHANNEL --url URL", Short: "Create an endpoint; shows its signing secret, this once",
		Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			var e ops.Endpoint
			if err := f.change(cmd, &e); err != nil {
				return err
			}
			if len(args) > 0 {
				e.ID = args[0]
			}
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: "/channels/" + url.PathEscape(channel) + "/endpoints", body: e}, printEndpoint)
		}),
	}
	f.bind(cmd)
	cmd.Flags().StringVar(&channel, "channel", "", "id of the `CHANNEL` whose messages it gets (required)")
	requireFlags(cmd, "channel", "url")
	return cmd
}

func newEndpointList(c *clientConfig) *cobra.Command {
	var channel string
	cmd := &cobra.Command{
		Use: "list", Short: "List endpoints", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, _ []string) error {
			path := "/endpoints"
			if channel != "" {
				path = "/channels/" + url.PathEscape(channel) + path
			}
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: path},
				tableOf("ID\tCHANNEL\tSTATE\tURL", func(e ops.Endpoint) []any {
					return []any{e.ID, e.ChannelID, endpointState(e), e.URL}
				}))
		}),
	}
	cmd.Flags().StringVar(&channel, "channel", "", "only those of this `CHANNEL`")
	return cmd
}

func endpointState(e ops.Endpoint) string {
	switch {
	case e.Disabled == "" && e.Paused == "":
		return "enabled"
	case e.Disabled == "":
		return "paused: " + e.Paused
	case e.Paused == "":
		return "disabled: " + e.Disabled
	}
	return "disabled: " + e.Disabled + "; paused: " + e.Paused
}

func newEndpointShow(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an endpoint, without its secrets", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodGet, path: endpointPath(args[0])}, printEndpoint)
		}),
	}
}

// newEndpointUpdate changes what is given and keeps the rest. It fails when
// somebody else changes the endpoint between its reading and its writing.
func newEndpointUpdate(c *clientConfig) *cobra.Command {
	var f endpointFlags
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change the settings that are given, and no others", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			var e ops.Endpoint
			etag, err := o.do(cmd.Context(), opsCall{method: http.MethodGet, path: endpointPath(args[0])}, &e)
			if err != nil {
				return err
			}
			if err := f.change(cmd, &e); err != nil {
				return err
			}
			return call(c, cmd, o, opsCall{method: http.MethodPut, path: endpointPath(args[0]), body: e, ifMatch: etag}, printEndpoint)
		}),
	}
	f.bind(cmd)
	return cmd
}

func newEndpointDisable(c *clientConfig) *cobra.Command {
	var in ops.Reason
	cmd := &cobra.Command{
		Use: "disable ID", Short: "Send nothing for now; messages wait, in order", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: endpointPath(args[0]) + "/disable", body: in}, printEndpoint)
		}),
	}
	cmd.Flags().StringVar(&in.Reason, "reason", "", "`WHY`, for those who ask")
	return cmd
}

func newEndpointEnable(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "enable ID", Short: "Send again, what waited first", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: endpointPath(args[0]) + "/enable"}, printEndpoint)
		}),
	}
}

func endpointPath(id string) string { return "/endpoints/" + url.PathEscape(id) }

func printEndpoint(w io.Writer, e ops.Endpoint) {
	field(w, "id", e.ID)
	field(w, "channel", e.ChannelID)
	field(w, "url", e.URL)
	field(w, "state", endpointState(e))
	if e.VerifyToken != nil {
		field(w, "verify token", *e.VerifyToken)
	}
	printSending(w, e.Sending)
	field(w, "events", strings.Join(e.Events, ", "))
	field(w, "retry", strings.Join(e.Retry, ", "))
	field(w, "timeout", e.Timeout)
	field(w, "expires after", e.ExpireAfter)
	if e.Supersede {
		field(w, "supersede", "by a later user message")
	}
	field(w, "on exhausted", e.OnExhausted)
	field(w, "max in flight", fmt.Sprint(e.MaxInFlight))
	field(w, "rate limit", e.RateLimit)
	field(w, "disabled after", e.DisableAfter)
	if e.Health != nil {
		field(w, "circuit", circuitText(*e.Health, time.Now()))
	}
	field(w, "revision", e.Revision)
}
