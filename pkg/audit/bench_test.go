package audit_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/audit"
	"github.com/parleyhq/parley/pkg/topology"
)

// BenchmarkList reads one page of 100,000 entries.
func BenchmarkList(b *testing.B) {
	log, conn := open(b)
	stream, err := conn.JS.Stream(b.Context(), topology.StreamAudit)
	require.NoError(b, err)
	roomy := stream.CachedInfo().Config
	roomy.MaxBytes = 128 << 20
	_, err = conn.JS.UpdateStream(b.Context(), roomy)
	require.NoError(b, err)
	write(b, log, audit.Entry{By: "ada", Action: "token.create", Kind: audit.KindToken, Object: "t"})
	fill(b, conn, 100_000, audit.Entry{
		By: "ben", TokenID: "tok_0123456789", Remote: "127.0.0.1:50000", Action: "lane.skip", Kind: audit.KindLane, Object: "bot.crm.0123456789abcdef0123456789abcdef",
		Status: 200, Detail: []byte(`{"action":"skip","lanes":1,"done":1,"queued":0,"busy":0}`),
	})
	for name, c := range map[string]struct {
		filter audit.Filter
		before uint64
		want   int
	}{
		"newest":   {want: 50},
		"middle":   {before: 50_000, want: 50},
		"by none":  {filter: audit.Filter{By: "eve"}},
		"rare":     {filter: audit.Filter{Kind: audit.KindToken}},
		"up to":    {filter: audit.Filter{Until: time.Now().Add(-time.Hour)}},
		"last day": {filter: audit.Filter{Since: time.Now().Add(-24 * time.Hour)}, want: 50},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				got, err := log.List(b.Context(), c.filter, audit.Page{Before: c.before})
				require.NoError(b, err)
				require.Len(b, got.Entries, c.want)
			}
		})
	}
}
