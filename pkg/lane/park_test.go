package lane

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// spaced is a store of a lane whose messages stand at some places; it notes what
// is asked of it.
type spaced struct {
	Store
	places []uint64
	calls  []string
}

func (s *spaced) Next(_ context.Context, _ ID, from uint64, most int) (found []ParkedMessage, err error) {
	for _, p := range s.places {
		if p >= from && len(found) < most {
			found = append(found, ParkedMessage{ParkedSeq: p})
		}
	}
	s.calls = append(s.calls, fmt.Sprintf("%d of %d", len(found), most))
	return found, nil
}

func (s *spaced) Remove(_ context.Context, _ ID, upTo uint64) error {
	s.calls = append(s.calls, fmt.Sprintf("remove to %d", upTo))
	return nil
}

// Between neighbours and blocks, one message is read at a time, and removed before
// the next is: the broker would look at all that stands between.
func TestReadAhead(t *testing.T) {
	apart := make([]uint64, 40)
	for i := range apart {
		apart[i] = uint64(1 + i*nearby)
	}
	next, far := apart[39]+1, apart[39]+5000
	for name, c := range map[string]struct {
		places []uint64
		reads  []int // how many are settled of what each read found; 0: it is tried again
		want   []string
	}{
		"close together": {apart, []int{1, 1, 16, 16}, []string{
			"1 of 1", "remove to 1", "1 of 1", "16 of 16", "16 of 16",
		}},
		"apart within a block": {[]uint64{1, 5000, 9000, 20_000}, []int{1, 1, 1}, []string{
			"1 of 1", "remove to 1", "1 of 1", "remove to 5000", "1 of 1",
		}},
		"a block apart": {[]uint64{1, 1 + blockful, 2 + 2*blockful, 3 + 3*blockful}, []int{1, 1, 2}, []string{
			"1 of 1", "remove to 1", "1 of 1", "2 of 16",
		}},
		"the head is tried again": {[]uint64{1, 5000, 9000}, []int{0, 0, 1, 0, 1, 1}, []string{
			"1 of 1", "1 of 1", "1 of 1", "remove to 1", "1 of 1", "1 of 1", "remove to 5000", "1 of 1",
		}},
		"no longer close": {append(apart[:20:20], next, far), []int{1, 1, 16, 2, 1, 1}, []string{
			"1 of 1", "remove to 1", "1 of 1", "16 of 16", "4 of 16", "remove to 1217", "1 of 1", "remove to 2498", "1 of 1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			store := &spaced{places: c.places}
			s, l := &shard{store: store}, &lane{parked: true, loaded: true, headSeq: 1}
			for _, settled := range c.reads {
				l.ahead = nil
				require.NoError(t, s.readParked(t.Context(), l, l.headSeq))
				require.NotEmpty(t, l.ahead)
				for _, m := range l.ahead[:settled] {
					l.headSeq = m.ParkedSeq + 1
					l.lagging++
				}
			}
			require.Equal(t, c.want, store.calls)
		})
	}
}
