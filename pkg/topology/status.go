package topology

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/chat"
)

// Status is what waits in the streams.
type Status struct {
	Stages []StageStatus `json:"stages"`
	Dead   Usage         `json:"deadLetters"`
}

// StageStatus is what waits in front of a stage.
type StageStatus struct {
	Stage      chat.Stage        `json:"stage"`
	Waiting    uint64            `json:"waiting"` // messages in all partitions, without parked ones
	Partitions []PartitionStatus `json:"partitions"`
	Parked     ParkedStatus      `json:"parked"`
	// Oldest is when the oldest message that waits, parked or not, was
	// accepted; nil when none waits.
	Oldest *time.Time `json:"oldestWaitingAt,omitempty"`
}

// PartitionStatus is one work queue.
type PartitionStatus struct {
	Partition int `json:"partition"`
	Usage
	Pending  uint64     `json:"pending"`  // not yet handed to the owner
	InFlight int        `json:"inFlight"` // handed to the owner, not yet acknowledged
	Consumed bool       `json:"consumed"` // an owner has its consumer there
	Oldest   *time.Time `json:"oldestWaitingAt,omitempty"`
}

// ParkedStatus is the lanes that wait for their destination.
type ParkedStatus struct {
	Usage
	Lanes uint64 `json:"lanes"`
	// Held is how many of the lanes wait for an operator: who knows what is in
	// their state records fills it in.
	Held   uint64     `json:"held"`
	Oldest *time.Time `json:"oldestWaitingAt,omitempty"`
	// Approximate says that the lanes are so many that they were not counted
	// one by one.
	Approximate bool `json:"approximate,omitempty"`
}

// Usage is how full a stream is. Messages of a parked stream don't count its
// lanes' state records.
type Usage struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"maxBytes"` // publishes are refused above it
}

const (
	// statusQueries is how many questions to the broker are under way at once.
	statusQueries = 8
	// maxCounted is how many parked subjects are counted one by one.
	maxCounted = 50_000
)

// ReadStatus asks the broker about every stream of the pipeline.
func ReadStatus(ctx context.Context, js jetstream.JetStream, l Layout) (*Status, error) {
	status := &Status{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(statusQueries)
	for _, stage := range []chat.Stage{chat.StageUser, chat.StageBot} {
		status.Stages = append(status.Stages, StageStatus{Stage: stage, Partitions: make([]PartitionStatus, l.Partitions)})
	}
	for i := range status.Stages {
		s := &status.Stages[i]
		for p := range s.Partitions {
			g.Go(func() (err error) {
				s.Partitions[p], err = readPartition(ctx, js, s.Stage, p)
				return err
			})
		}
		g.Go(func() (err error) {
			s.Parked, err = readParked(ctx, js, s.Stage)
			return err
		})
	}
	g.Go(func() (err error) {
		_, info, err := streamInfo(ctx, js, StreamDead)
		if err == nil {
			status.Dead = usage(info)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range status.Stages {
		status.Stages[i].sum()
	}
	return status, nil
}

// sum fills what follows from the parts.
func (s *StageStatus) sum() {
	s.Oldest = s.Parked.Oldest
	for _, p := range s.Partitions {
		s.Waiting += p.Messages
		if p.Oldest != nil && (s.Oldest == nil || p.Oldest.Before(*s.Oldest)) {
			s.Oldest = p.Oldest
		}
	}
}

func streamInfo(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, *jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("asking about stream %s: %w", name, err)
	}
	return stream, stream.CachedInfo(), nil
}

func usage(info *jetstream.StreamInfo) Usage {
	return Usage{Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes}
}

func readPartition(ctx context.Context, js jetstream.JetStream, stage chat.Stage, partition int) (PartitionStatus, error) {
	p := PartitionStatus{Partition: partition}
	stream, info, err := streamInfo(ctx, js, HotStream(stage, partition))
	if err != nil {
		return p, err
	}
	p.Usage = usage(info)
	p.Pending = p.Messages
	if p.Messages > 0 {
		p.Oldest = new(info.State.FirstTime.UTC())
	}
	consumers := stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		p.Consumed, p.Pending, p.InFlight = true, c.NumPending, c.NumAckPending
	}
	if err := consumers.Err(); err != nil {
		return p, fmt.Errorf("asking about the consumer of stream %s: %w", info.Config.Name, err)
	}
	return p, nil
}

func readParked(ctx context.Context, js jetstream.JetStream, stage chat.Stage) (ParkedStatus, error) {
	var p ParkedStatus
	stream, info, err := streamInfo(ctx, js, ParkedStream(stage))
	if err != nil {
		return p, err
	}
	p.Usage = usage(info)
	filter := "parked." + string(stage) + ".>"
	if info.State.NumSubjects > maxCounted {
		// Most lanes have two subjects, messages and state; a state is one message.
		p.Approximate = true
		p.Lanes = info.State.NumSubjects / 2
		p.Messages -= min(p.Messages, p.Lanes)
	} else {
		counted, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return p, fmt.Errorf("counting the lanes of stream %s: %w", info.Config.Name, err)
		}
		p.Messages, p.Lanes = 0, uint64(len(counted.State.Subjects))
		for _, n := range counted.State.Subjects {
			p.Messages += n
		}
	}
	if p.Messages > 0 {
		p.Oldest, err = oldestParked(ctx, stream, info.State.FirstSeq, filter)
	}
	return p, err
}

// oldestParked reads when the first message that is parked was accepted: its
// original's time, kept in a header. It is nil if that was settled meanwhile.
func oldestParked(ctx context.Context, stream jetstream.Stream, from uint64, filter string) (*time.Time, error) {
	msg, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the oldest parked message (%s): %w", strings.TrimSuffix(filter, ".>"), err)
	}
	at := msg.Time.UTC()
	if ns, err := strconv.ParseInt(msg.Header.Get(HeaderTime), 10, 64); err == nil {
		at = time.Unix(0, ns).UTC()
	}
	return &at, nil
}
