package ledger

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/parleyhq/parley/pkg/chat"
)

// Advance returns the mark of a lane at mark that settles next as well.
//
// A mark that covers next stays. Otherwise it becomes next, and keeps the later
// input's time, so that it covers what it covered. Only where next's place is
// below (a lost session began again at a lower epoch) the mark becomes next
// alone: a mark that covered both would also cover what comes between them and
// was never sent.
func Advance(mark, next chat.Ordinal) chat.Ordinal {
	if mark.Covers(next) {
		return mark
	}
	if next.Epoch > mark.Epoch || next.Epoch == mark.Epoch && next.Counter >= mark.Counter {
		next.InputAt = max(next.InputAt, mark.InputAt)
	}
	return next
}

// A stored mark is three numbers of 16 hexadecimal digits: epoch, counter and
// input time. At a fixed width the order of the texts is that of the numbers,
// so that a script compares 64 bits without rounding them.
const (
	digits    = 16
	markBytes = 3 * digits
)

// noMarkError is what else stood where a mark should be.
type noMarkError struct{ stored string }

func (e *noMarkError) Error() string { return fmt.Sprintf("%.60q is no mark", e.stored) }

func isNoMark(err error) bool {
	var e *noMarkError
	return errors.As(err, &e)
}

var errNegative = errors.New("its input's time is before 1970")

func encodeMark(m chat.Ordinal) ([]byte, error) {
	if m.InputAt < 0 {
		return nil, errNegative
	}
	b := make([]byte, 0, markBytes)
	for _, n := range [...]uint64{m.Epoch, m.Counter, uint64(m.InputAt)} {
		for shift := 60; shift >= 0; shift -= 4 {
			b = append(b, "0123456789abcdef"[n>>shift&15])
		}
	}
	return b, nil
}

func decodeMark(s string) (chat.Ordinal, error) {
	var n [3]uint64
	if len(s) != markBytes {
		return chat.Ordinal{}, &noMarkError{s}
	}
	for i := range n {
		v, err := strconv.ParseUint(s[i*digits:(i+1)*digits], 16, 64)
		if err != nil || i == 2 && int64(v) < 0 {
			return chat.Ordinal{}, &noMarkError{s}
		}
		n[i] = v
	}
	return chat.Ordinal{Epoch: n[0], Counter: n[1], InputAt: int64(n[2])}, nil
}
