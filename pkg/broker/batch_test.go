package broker_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestReadNext(t *testing.T) {
	conn := brokertest.New(t)
	stream := topology.ParkedStream(chat.StageBot)
	subject, _ := topology.LaneSubjects(chat.StageBot, 0, "e", chat.KeyOf("c", "1"))
	other, _ := topology.LaneSubjects(chat.StageBot, 0, "e", chat.KeyOf("c", "2"))
	for i := range 20 {
		for _, s := range []string{subject, other} {
			_, err := conn.Publish(t.Context(), broker.Message{Subject: s, Data: []byte(strconv.Itoa(i)), Headers: map[string]string{"N": strconv.Itoa(i)}})
			require.NoError(t, err)
		}
	}
	read := func(subject string, from uint64, n int) (seqs []uint64) {
		found, err := conn.ReadNext(t.Context(), stream, subject, from, n)
		require.NoError(t, err)
		for _, m := range found {
			require.Equal(t, subject, m.Subject)
			require.Equal(t, string(m.Data), m.Header.Get("N"))
			require.False(t, m.Time.IsZero())
			seqs = append(seqs, m.Sequence)
		}
		return seqs
	}
	require.Equal(t, []uint64{1, 3, 5}, read(subject, 0, 3))
	require.Equal(t, []uint64{2, 4, 6}, read(other, 1, 3))
	require.Equal(t, []uint64{37, 39}, read(subject, 36, 10), "as many as there are")
	require.Empty(t, read(subject, 40, 10), "none")
	require.Empty(t, read(subject+"0", 1, 10))

	var g errgroup.Group // answers find who asked
	for from := range uint64(38) {
		g.Go(func() error {
			found, err := conn.ReadNext(t.Context(), stream, subject, from, 1)
			if err == nil && (len(found) != 1 || found[0].Sequence != from+(from+1)%2) {
				err = errors.New("another one's answer")
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
}

func TestReadNextIsBounded(t *testing.T) {
	conn := brokertest.New(t)
	stream := topology.ParkedStream(chat.StageBot)
	subject, _ := topology.LaneSubjects(chat.StageBot, 0, "e", chat.KeyOf("c", "1"))
	for range 10 {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: subject, Data: make([]byte, 100<<10)})
		require.NoError(t, err)
	}
	found, err := conn.ReadNext(t.Context(), stream, subject, 1, 10)
	require.NoError(t, err)
	require.Len(t, found, 3)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = conn.ReadNext(ctx, "NOWHERE", subject, 1, 10)
	require.ErrorIs(t, err, broker.ErrUnavailable)
	_, err = conn.ReadNext(t.Context(), "NOWHERE", subject, 1, 10)
	require.ErrorContains(t, err, "503", "at once, since nobody listens")
}
