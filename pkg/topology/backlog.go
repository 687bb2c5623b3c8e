package topology

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
)

// Waiting is how much waits. Bytes are as stored; those of a channel or an
// endpoint are its messages times the mean size in each stream.
type Waiting struct {
	Messages uint64
	Bytes    uint64
}

func (w *Waiting) add(messages uint64, in Usage) {
	w.Messages += messages
	if in.Messages > 0 {
		w.Bytes += uint64(float64(in.Bytes) / float64(in.Messages) * float64(messages))
	}
}

// Backlog is what waits in the streams at one moment, and can be asked whose
// it is.
type Backlog struct {
	js         jetstream.JetStream
	partitions int
	streams    map[string]Usage // those that are not empty
}

// ReadBacklog asks how full the streams are: one question each.
func ReadBacklog(ctx context.Context, js jetstream.JetStream, l Layout) (*Backlog, error) {
	var names []string
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		for p := range l.Partitions {
			names = append(names, HotStream(stage, p))
		}
		names = append(names, ParkedStream(stage))
	}
	found := make([]Usage, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(statusQueries)
	for i, name := range names {
		g.Go(func() error {
			_, info, err := streamInfo(gctx, js, name)
			if err == nil {
				found[i] = usage(info)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	b := &Backlog{js: js, partitions: l.Partitions, streams: map[string]Usage{}}
	for i, name := range names {
		if found[i].Messages > 0 {
			b.streams[name] = found[i]
		}
	}
	return b, nil
}

// Total is all that waits, with the lanes' state records.
func (b *Backlog) Total() Waiting {
	var w Waiting
	for _, u := range b.streams {
		w.Messages += u.Messages
		w.Bytes += u.Bytes
	}
	return w
}

// Hot is what waits in front of a stage, without what is parked: there more
// workers would help.
func (b *Backlog) Hot(stage chat.Stage) Waiting {
	var w Waiting
	for p := range b.partitions {
		u := b.streams[HotStream(stage, p)]
		w.Messages += u.Messages
		w.Bytes += u.Bytes
	}
	return w
}

// Channel is what waits for the channel's bot, and of the bot's messages what
// no attempt was made at yet. It costs the broker a look at each conversation
// that waits.
func (b *Backlog) Channel(ctx context.Context, channelID string) (Waiting, error) {
	var w Waiting
	for p := range b.partitions {
		for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
			if err := b.count(ctx, &w, HotStream(stage, p), fmt.Sprintf("%s.%d.%s.*", stage, p, channelID)); err != nil {
				return w, err
			}
		}
	}
	err := b.count(ctx, &w, ParkedStream(chat.StageUser), fmt.Sprintf("parked.%s.*.%s.*", chat.StageUser, channelID))
	return w, err
}

// Endpoint is what is parked for an endpoint.
func (b *Backlog) Endpoint(ctx context.Context, endpointID string) (Waiting, error) {
	var w Waiting
	err := b.count(ctx, &w, ParkedStream(chat.StageBot), fmt.Sprintf("parked.%s.*.%s.*", chat.StageBot, endpointID))
	return w, err
}

func (b *Backlog) count(ctx context.Context, w *Waiting, name, filter string) error {
	in, ok := b.streams[name]
	if !ok {
		return nil
	}
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("asking about stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return fmt.Errorf("counting %s in stream %s: %w", filter, name, err)
	}
	messages := uint64(0)
	for _, n := range info.State.Subjects {
		messages += n
	}
	w.add(messages, in)
	return nil
}

// ChannelBytes is what one channel may have waiting where nothing else is said:
// three quarters of the stream in which it would be parked, so that there is
// room left for the others.
func (l Layout) ChannelBytes() int64 { return l.bytes(shareUserParked) / 4 * 3 }

// EndpointBytes is the same of one endpoint.
func (l Layout) EndpointBytes() int64 { return l.bytes(shareBotParked) / 4 * 3 }
