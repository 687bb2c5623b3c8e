package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/deadletter"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/services/ops"
)

func addOps(ctx context.Context, p *process) error {
	letters, err := deadletter.New(ctx, p.conn)
	if err != nil {
		return err
	}
	svc, err := ops.New(ops.Options{BootstrapToken: chat.Secret(p.flags.opsToken)}, ops.Deps{
		Registry: p.registry, DeadLetters: deadLetters{letters},
		Status: func(ctx context.Context) (*topology.Status, error) {
			return topology.ReadStatus(ctx, p.conn.JS, p.layout)
		},
		Health: []ops.HealthCheck{
			{Name: "broker", Check: func(context.Context) error { return p.conn.Ready() }},
			{Name: "redis", Check: func(ctx context.Context) error { return p.redis.Ping(ctx).Err() }},
			{Name: "ledger", Check: p.marks.Ping},
		},
	})
	if err != nil {
		return err
	}
	svc.Mount(p.admin.Echo())
	p.at.OpsToken = p.flags.opsToken
	return nil
}

// deadLetters gives the ops service pages by a place in words.
type deadLetters struct{ store *deadletter.Store }

func (d deadLetters) List(ctx context.Context, f ops.DeadLetterFilter, limit int, before string) ([]*chat.DeadLetter, string, error) {
	page := deadletter.Page{Limit: limit}
	if before != "" {
		var err error
		if page.Before, err = strconv.ParseUint(before, 10, 64); err != nil {
			return nil, "", fmt.Errorf("before is %q: take it from the page before: %w", before, err)
		}
	}
	found, err := d.store.List(ctx, deadletter.Filter{Stage: f.Stage, ChannelID: f.ChannelID, Destination: f.Destination}, page)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if found.Next != 0 {
		next = strconv.FormatUint(found.Next, 10)
	}
	return pointers(found.Letters), next, nil
}

func (d deadLetters) Get(ctx context.Context, messageID string) ([]*chat.DeadLetter, error) {
	found, err := d.store.Get(ctx, messageID)
	return pointers(found), err
}

func pointers(letters []deadletter.Letter) []*chat.DeadLetter {
	out := make([]*chat.DeadLetter, len(letters))
	for i := range letters {
		out[i] = &letters[i].DeadLetter
	}
	return out
}
