package lane

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Report is what waits at a stage, as its workers know it.
type Report struct {
	Stage chat.Stage `json:"stage"`
	// Workers is how many were asked, Answered how many did in time: the report
	// lacks what waits at the others.
	Workers  int   `json:"workers"`
	Answered int   `json:"answered"`
	Groups   []Age `json:"groups"` // the longest waiting first; 100, and "_rest"
}

// askFor is how long workers have to answer.
const askFor = time.Second

// Answer answers Ask with what waits at this process, until ctx ends.
func Answer(ctx context.Context, conn *broker.Conn, stage chat.Stage, ages func() []Age) error {
	sub, err := conn.NATS.Subscribe(topology.WaitingSubject(stage), func(m *nats.Msg) {
		if data, err := json.Marshal(ages()); err == nil {
			_ = m.Respond(data) // who asked does without
		}
	})
	if err != nil {
		return fmt.Errorf("answering what waits: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // it goes with the connection
	return nil
}

// Ask asks a stage's workers what waits there. It returns when so many have
// answered, or after a second.
func Ask(ctx context.Context, conn *broker.Conn, stage chat.Stage, workers int) (*Report, error) {
	r := &Report{Stage: stage, Workers: workers, Groups: []Age{}}
	if workers == 0 {
		return r, nil
	}
	inbox := conn.NATS.NewInbox()
	sub, err := conn.NATS.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("asking what waits: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it goes with the connection
	if err := conn.NATS.PublishRequest(topology.WaitingSubject(stage), inbox, nil); err != nil {
		return nil, fmt.Errorf("asking what waits: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	all, caps := map[string]*groupAge{}, map[string]int{}
	for r.Answered < workers {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil || m.Header.Get("Status") == "503" { // no responders
			break // the rest is late, or nobody is there
		}
		var groups []Age
		if json.Unmarshal(m.Data, &groups) != nil {
			continue
		}
		r.Answered++
		for _, g := range groups {
			oldest := time.Time{}
			if g.Oldest != nil {
				oldest = *g.Oldest
			}
			groupIn(all, g.Group).add(g.Lanes, oldest)
			caps[g.Group] += g.Cap
		}
	}
	r.Groups = longest(all)
	for i := range r.Groups {
		r.Groups[i].Cap = caps[r.Groups[i].Group]
	}
	return r, nil
}
