package lane

import (
	"fmt"
	"testing"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// BenchmarkAges is a scrape, or a status, with 100,000 parked lanes of 1,000
// endpoints.
func BenchmarkAges(b *testing.B) {
	s := &shard{lanes: map[ID]*lane{}}
	e := &Engine{shards: map[*shard]struct{}{s: {}}}
	for i := range 100_000 {
		id := ID{Group: fmt.Sprintf("endpoint-%d", i%1000), Key: chat.KeyOf("c", fmt.Sprint(i))}
		s.lanes[id] = &lane{id: id, parked: true, loaded: true, headSeq: 1, tailSeq: 2, headTime: time.Unix(int64(i), 0)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := len(e.Ages()); n != shownGroups+1 {
			b.Fatal(n)
		}
	}
}
