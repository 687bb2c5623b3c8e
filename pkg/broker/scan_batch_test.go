package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// lossy is a consumer that gives these of its messages, by their numbers, and
// then says why it ends.
type lossy struct {
	jetstream.Consumer
	gives []uint64
	err   error
}

func (c lossy) Fetch(int, ...jetstream.FetchOpt) (jetstream.MessageBatch, error) {
	return lossyBatch{c.gives, c.err}, nil
}

type lossyBatch struct {
	gives []uint64
	err   error
}

func (c lossyBatch) Messages() <-chan jetstream.Msg {
	messages := make(chan jetstream.Msg, len(c.gives))
	for _, n := range c.gives {
		messages <- numbered{n: n}
	}
	close(messages)
	return messages
}

func (c lossyBatch) Error() error { return c.err }

// numbered is message n of a consumer; its sequence in the stream is 10 n.
type numbered struct {
	jetstream.Msg
	n uint64
}

func (m numbered) Subject() string { return "s" }
func (m numbered) Data() []byte    { return nil }
func (m numbered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Consumer: m.n, Stream: 10 * m.n}}, nil
}

// TestBatch: what did not come is not passed over; the scan goes on behind the
// last message that it had.
func TestBatch(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		consumer lossy
		enough   uint64 // visit ends at this sequence
		want     []uint64
		more     bool
		err      error
	}{
		"all":            {lossy{gives: []uint64{3, 4, 5, 6}}, 0, []uint64{30, 40, 50, 60}, true, nil},
		"one was lost":   {lossy{gives: []uint64{3, 5, 6}}, 0, []uint64{30}, true, nil},
		"the first":      {lossy{gives: []uint64{4, 5, 6}}, 0, nil, true, nil},
		"the last":       {lossy{gives: []uint64{3, 4, 5}, err: context.DeadlineExceeded}, 0, []uint64{30, 40, 50}, true, nil},
		"nothing came":   {lossy{err: context.DeadlineExceeded}, 0, nil, true, nil},
		"visit ends":     {lossy{gives: []uint64{3, 4, 5, 6}}, 40, []uint64{30, 40}, false, nil},
		"an error, late": {lossy{gives: []uint64{3}, err: broken}, 0, []uint64{30}, false, broken},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			s := scan{next: 21, left: 8, visit: func(m Stored) bool {
				got = append(got, m.Seq)
				return m.Seq != c.enough
			}}
			n, more, err := s.batch(t.Context(), c.consumer, 4, 2)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.want, got)
			require.Equal(t, len(c.want), n)
			require.Equal(t, c.more, more)
			require.EqualValues(t, 8-n, s.left)
			if n > 0 {
				require.Equal(t, got[n-1]+1, s.next)
			} else {
				require.EqualValues(t, 21, s.next)
			}
		})
	}
}
