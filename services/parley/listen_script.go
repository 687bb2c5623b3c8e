package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// runScript is the endpoint whose answers come from a file.
func (o listenOptions) runScript(ctx context.Context, endpoint *customerEndpoint, out *transcript) error {
	data, err := os.ReadFile(o.script)
	if err != nil {
		return fmt.Errorf("--script: %w", err)
	}
	plan, err := webhooktest.ParsePlan(data)
	if err != nil {
		return fmt.Errorf("--script: %s: %w", o.script, err)
	}
	receiver, err := webhooktest.Start( //nolint:contextcheck // it listens until it is closed
		webhooktest.WithAddr(o.addr), webhooktest.WithPlan(plan), webhooktest.WithKeep(1),
		webhooktest.WithAround(func(next webhooktest.Script) webhooktest.Script {
			return func(n int, r *webhooktest.Received) webhooktest.Reply {
				return endpoint.scripted(r, out, func() webhooktest.Reply { return next(n, r) })
			}
		}))
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	defer receiver.Close()
	if err := listening(out, receiver.ParsedURL().Host, endpoint); err != nil {
		return err
	}
	if err := out.Note(fmt.Sprintf("answers by the %d steps of %s, then 200", len(plan.Steps), o.script)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// scripted answers one request; next takes a step, and only a good delivery
// does.
func (c *customerEndpoint) scripted(r *webhooktest.Received, out *transcript, next func() webhooktest.Reply) webhooktest.Reply {
	refuse := func(status int, why string) webhooktest.Reply {
		c.refused(fmt.Sprintf("%s %s answered %d: %s", r.Method, r.Path, status, why))
		return webhooktest.Reply{Status: status, Body: why + "\n"}
	}
	switch {
	case r.Method == http.MethodGet && r.Path == "/livez":
		return webhooktest.Reply{}
	case r.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "bot messages are POSTed")
	}
	d, status, err := c.check(r.Header, r.Raw)
	if err != nil {
		return refuse(status, err.Error())
	}
	if err := c.accept(d); err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	reply := next()
	if text := reply.String(); text != "200" {
		_ = out.Note("answered: " + text)
	}
	return reply
}
