package audit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) (*audit.Log, *broker.Conn) {
	t.Helper()
	conn := brokertest.New(t)
	log, err := audit.New(t.Context(), conn, prometheus.NewRegistry())
	require.NoError(t, err)
	return log, conn
}

func write(t testing.TB, log *audit.Log, entries ...audit.Entry) {
	t.Helper()
	for _, e := range entries {
		require.NoError(t, log.Write(t.Context(), e))
	}
}

// fill stores so many entries without waiting for each.
func fill(t testing.TB, conn *broker.Conn, n int, e audit.Entry) {
	t.Helper()
	type form struct {
		Version int `json:"v"`
		audit.Entry
	}
	data, err := json.Marshal(form{1, e})
	require.NoError(t, err)
	for n > 0 {
		row := make([]broker.Message, min(n, 1000))
		for i := range row {
			row[i] = broker.Message{Subject: topology.AuditSubject(e.Kind), Data: data}
		}
		_, err := conn.PublishAll(t.Context(), row...)
		require.NoError(t, err)
		n -= len(row)
	}
}

// pages reads a list to its end, and checks that no page has more than it may.
func pages(t *testing.T, log *audit.Log, f audit.Filter, limit int) (all []audit.Entry, read int) {
	t.Helper()
	for before := uint64(0); ; {
		got, err := log.List(t.Context(), f, audit.Page{Before: before, Limit: limit})
		require.NoError(t, err)
		require.LessOrEqual(t, len(got.Entries), limit)
		all = append(all, got.Entries...)
		read++
		if got.Next == 0 {
			return all, read
		}
		require.True(t, before == 0 || got.Next < before, "each page goes on")
		before = got.Next
	}
}

func TestWriteAndList(t *testing.T) {
	log, _ := open(t)
	none, err := log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.NoError(t, err)
	require.Equal(t, audit.Listing{}, none)

	e := audit.Entry{
		By: "ada", TokenID: "tok1", Remote: "127.0.0.1:5", Action: "endpoint.disable", Kind: audit.KindEndpoint, Object: "crm",
		Query: "held=true", Status: 200, Detail: json.RawMessage(`{"id":"crm"}`), RequestID: "r1",
	}
	before := time.Now().Add(-time.Second)
	write(t, log, e)
	got, err := log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.NoError(t, err)
	require.Len(t, got.Entries, 1)
	require.EqualValues(t, 1, got.Entries[0].Seq)
	require.WithinRange(t, got.Entries[0].At, before, time.Now().Add(time.Second))
	e.Seq, e.At = got.Entries[0].Seq, got.Entries[0].At
	require.Equal(t, e, got.Entries[0])
	require.Zero(t, got.Next)
}

func TestFilters(t *testing.T) {
	log, _ := open(t)
	for i := range 60 {
		write(t, log, audit.Entry{
			By: fmt.Sprint("user", i%3), TokenID: fmt.Sprint("tok", i%3), Action: "x", Kind: audit.Kinds()[i%2], Object: fmt.Sprint("o", i%5), Status: 200,
		})
	}
	every, _ := pages(t, log, audit.Filter{}, 1000)
	require.Len(t, every, 60)
	at := func(seq int) time.Time { return every[60-seq].At }
	for _, c := range []struct {
		filter audit.Filter
		passes func(i int, e audit.Entry) bool
	}{
		{audit.Filter{}, func(int, audit.Entry) bool { return true }},
		{audit.Filter{Kind: audit.KindEndpoint}, func(i int, _ audit.Entry) bool { return i%2 == 1 }},
		{audit.Filter{Kind: audit.KindReplay}, func(int, audit.Entry) bool { return false }},
		{audit.Filter{Object: "o3"}, func(i int, _ audit.Entry) bool { return i%5 == 3 }},
		{audit.Filter{By: "user1"}, func(i int, _ audit.Entry) bool { return i%3 == 1 }},
		{audit.Filter{By: "tok2", Kind: audit.KindChannel}, func(i int, _ audit.Entry) bool { return i%3 == 2 && i%2 == 0 }},
		{audit.Filter{Since: at(20)}, func(_ int, e audit.Entry) bool { return !e.At.Before(at(20)) }},
		{audit.Filter{Until: at(20)}, func(_ int, e audit.Entry) bool { return e.At.Before(at(20)) }},
		{audit.Filter{Since: at(10), Until: at(50), Object: "o1"}, func(i int, e audit.Entry) bool {
			return i%5 == 1 && !e.At.Before(at(10)) && e.At.Before(at(50))
		}},
		{audit.Filter{Since: at(60).Add(time.Nanosecond)}, func(int, audit.Entry) bool { return false }},
		{audit.Filter{Until: at(1)}, func(int, audit.Entry) bool { return false }},
		{audit.Filter{Until: at(60).Add(time.Hour)}, func(int, audit.Entry) bool { return true }},
	} {
		var want []audit.Entry
		for _, e := range every {
			if c.passes(int(e.Seq)-1, e) {
				want = append(want, e)
			}
		}
		for _, limit := range []int{1, 7, 60, 1000} {
			got, _ := pages(t, log, c.filter, limit)
			require.Equal(t, want, got, "%+v by %d", c.filter, limit)
		}
	}
	_, err := log.List(t.Context(), audit.Filter{Kind: ">"}, audit.Page{})
	require.ErrorContains(t, err, "is no kind")
	first, err := log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.NoError(t, err)
	require.Len(t, first.Entries, 50, "the default")
}

// A page that would have to look far says where to go on instead.
func TestAPageLooksAtSoMany(t *testing.T) {
	log, conn := open(t)
	write(t, log, audit.Entry{By: "ada", Action: "token.create", Kind: audit.KindToken, Object: "t", Status: 201})
	fill(t, conn, 25_000, audit.Entry{By: "ben", Action: "lane.skip", Kind: audit.KindLane, Status: 200})
	got, err := log.List(t.Context(), audit.Filter{By: "ada"}, audit.Page{})
	require.NoError(t, err)
	require.Empty(t, got.Entries)
	require.EqualValues(t, 25_001-10_000+1, got.Next)
	for _, f := range []audit.Filter{{By: "ada"}, {Kind: audit.KindToken}, {Object: "t"}} {
		all, read := pages(t, log, f, 50)
		require.Len(t, all, 1)
		require.Equal(t, "ada", all[0].By)
		require.Equal(t, 3, read)
	}
	page, err := log.List(t.Context(), audit.Filter{By: "ben"}, audit.Page{Limit: 5000})
	require.NoError(t, err)
	require.Len(t, page.Entries, 1000)
}

func TestLongEntriesAreCut(t *testing.T) {
	log, _ := open(t)
	long := `{"flow":"` + strings.Repeat(`é\"`, 4000) + `"}`
	write(t, log, audit.Entry{
		By: strings.Repeat("x", 300), Object: strings.Repeat("é", 200), Action: "bot.put", Kind: audit.KindBot, Detail: json.RawMessage(long),
	})
	got, err := log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.NoError(t, err)
	e := got.Entries[0]
	require.Len(t, e.By, audit.MaxText)
	require.Equal(t, strings.Repeat("é", audit.MaxText/2), e.Object)
	require.LessOrEqual(t, len(e.Detail), audit.MaxDetail+100)
	var detail struct {
		CutFrom int
		Begins  string
	}
	require.NoError(t, json.Unmarshal(e.Detail, &detail))
	require.Equal(t, len(long), detail.CutFrom)
	require.True(t, strings.HasPrefix(long, detail.Begins))
	require.Greater(t, len(detail.Begins), 1000)
}

func TestUndecodable(t *testing.T) {
	log, conn := open(t)
	write(t, log, audit.Entry{By: "ada", Action: "x", Kind: audit.KindBot})
	for _, data := range []string{`{"v":2}`, "x"} {
		_, err := conn.Publish(t.Context(), broker.Message{Subject: topology.AuditSubject(audit.KindBot), Data: []byte(data)})
		require.NoError(t, err)
	}
	got, err := log.List(t.Context(), audit.Filter{By: "ada"}, audit.Page{})
	require.NoError(t, err)
	require.Len(t, got.Entries, 1)
	require.Equal(t, 2, got.Undecodable)
}

// A broker that takes the entry only at a later try has it once.
func TestWriteIsTriedAgain(t *testing.T) {
	log, conn := open(t)
	stream, err := conn.JS.Stream(t.Context(), topology.StreamAudit)
	require.NoError(t, err)
	require.NoError(t, conn.JS.DeleteStream(t.Context(), topology.StreamAudit))
	tries, err := conn.NATS.SubscribeSync(topology.AuditFilter(""))
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() {
		written <- log.Write(t.Context(), audit.Entry{By: "ada", Action: "x", Kind: audit.KindBot})
	}()
	_, err = tries.NextMsg(10 * time.Second)
	require.NoError(t, err)
	_, err = conn.JS.CreateStream(t.Context(), stream.CachedInfo().Config)
	require.NoError(t, err)
	require.NoError(t, <-written)
	got, err := log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.NoError(t, err)
	require.Len(t, got.Entries, 1)
}

func TestUnavailable(t *testing.T) {
	conn, stop := brokertest.Start(t, t.TempDir())
	reg := prometheus.NewRegistry()
	_, err := audit.New(t.Context(), conn, reg)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
	require.NoError(t, topology.Ensure(t.Context(), conn.JS, brokertest.Layout))
	log, err := audit.New(t.Context(), conn, reg)
	require.NoError(t, err)
	failed := func(n int) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(fmt.Sprintf(`
			# HELP parley_audit_failed_total Requests of operators whose audit entry could not be written.
			# TYPE parley_audit_failed_total counter
			parley_audit_failed_total %d
		`, n)), "parley_audit_failed_total"))
	}
	failed(0)
	require.ErrorContains(t, log.Write(t.Context(), audit.Entry{Kind: "magic"}), "use one of channel, ")
	failed(1)
	stop()
	require.ErrorIs(t, log.Write(t.Context(), audit.Entry{Kind: audit.KindBot}), broker.ErrUnavailable)
	failed(2)
	_, err = log.List(t.Context(), audit.Filter{}, audit.Page{})
	require.ErrorIs(t, err, broker.ErrUnavailable)
}
