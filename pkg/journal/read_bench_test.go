//go:build unix

package journal_test

import (
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/journal"
	"github.com/parleyhq/parley/pkg/topology"
)

var readEntries = flag.Int("entries", 100_000, "how many entries the journal has in BenchmarkRead")

// benchJournal has ten attempts of each conversation, spread over all of it, in
// ten channels; all at one endpoint but the first, which is at another.
func benchJournal(b *testing.B) *broker.Conn {
	b.Helper()
	conn, _ := brokertest.Start(b, b.TempDir())
	for _, s := range brokertest.Layout.Streams() {
		if s.Name == topology.StreamJournal {
			s.MaxBytes = 900 << 20
			_, err := conn.JS.CreateStream(b.Context(), s)
			require.NoError(b, err)
		}
	}
	n := *readEntries
	excerpt := []byte(`{"status":"ok","received":true}`)
	fill(b, conn, n, func(i int) *chat.Delivery {
		conversation := i % (n / 10)
		d := &chat.Delivery{
			At: time.UnixMilli(1785240000000 + int64(i)), ChannelID: fmt.Sprintf("channel%d", conversation%10), ConversationID: fmt.Sprintf("default-%d", conversation),
			MessageID: fmt.Sprintf("msg_%048d", i), EndpointID: "ep-busy", Ordinal: chat.Ordinal{Epoch: 1785240000000, Counter: uint64(i), InputAt: 1785240000000},
			AttemptNumber: 1, Outcome: chat.OutcomeDelivered,
			Attempt: &chat.Attempt{At: time.UnixMilli(1785240000000 + int64(i)), Duration: time.Millisecond, Status: 200, Excerpt: excerpt},
		}
		if i == 0 {
			d.EndpointID = "ep-rare"
		}
		return d
	})
	return conn
}

// reportCPU begins to count the processor time of the whole process, the
// broker's too; the returned function reports it.
func reportCPU(b *testing.B) func() {
	b.Helper()
	spent := func() time.Duration {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := spent()
	return func() { b.ReportMetric(float64((spent()-began).Microseconds())/float64(b.N)/1000, "cpu-ms/op") }
}

func BenchmarkRead(b *testing.B) {
	conn := benchJournal(b)
	r := journal.NewReader(conn)
	key := chat.KeyOf("channel7", "default-7")
	attempts := func(f journal.Filter, p journal.Page, want int, pages bool) func(*testing.B) {
		return func(b *testing.B) {
			b.Helper()
			defer reportCPU(b)()
			for b.Loop() {
				p, got := p, 0
				for more := true; more; {
					page, err := r.Attempts(b.Context(), f, p)
					require.NoError(b, err)
					got += len(page.Entries)
					p.Before, more = page.Next, pages && page.Next > 0
				}
				require.Equal(b, want, got)
			}
		}
	}
	b.Run("busy endpoint, page of 50", attempts(journal.Filter{EndpointID: "ep-busy"}, journal.Page{}, 50, false))
	b.Run("rare endpoint, a page", attempts(journal.Filter{EndpointID: "ep-rare"}, journal.Page{}, 0, false))
	b.Run("rare endpoint, all pages", attempts(journal.Filter{EndpointID: "ep-rare"}, journal.Page{}, 1, true))
	b.Run("channel, page of 50", attempts(journal.Filter{ChannelID: "channel7"}, journal.Page{}, 50, false))
	b.Run("channel, rare endpoint, a page", attempts(journal.Filter{ChannelID: "channel7", EndpointID: "ep-rare"}, journal.Page{}, 0, false))
	b.Run("conversation", attempts(journal.Filter{ChannelID: "channel7", Key: &key}, journal.Page{}, 10, false))
	b.Run("conversation, channel not known", attempts(journal.Filter{Key: &key}, journal.Page{}, 10, false))
	b.Run("scan of all", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			n := 0
			require.NoError(b, r.Scan(b.Context(), journal.Filter{}, time.Time{}, time.Time{}, 0, func(journal.Entry) error { n++; return nil }))
			require.Equal(b, *readEntries, n)
		}
	})
	b.Run("first of a time", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			_, err := conn.SeqAt(b.Context(), topology.StreamJournal, time.Now().Add(-time.Second))
			require.NoError(b, err)
		}
	})
}
