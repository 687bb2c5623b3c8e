package bench

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// A message's text begins with a marker: which one it is and when it was sent.
// It has only characters that JSON leaves as they are, so that it can be found
// in any body without decoding it.
const markerPrefix = "parleybench/"

type marker struct {
	Round, Conversation, Sequence int
	SentAt                        int64 // Unix nanoseconds
}

func (m marker) append(b []byte) []byte {
	b = append(b, markerPrefix...)
	for _, n := range [...]int64{int64(m.Round), int64(m.Conversation), int64(m.Sequence), m.SentAt} {
		b = strconv.AppendInt(b, n, 10)
		b = append(b, '/')
	}
	return b
}

// findMarker reads the first marker in a body.
func findMarker(body []byte) (m marker, ok bool) {
	_, rest, ok := bytes.Cut(body, []byte(markerPrefix))
	if !ok {
		return m, false
	}
	var fields [4]int64
	for i := range fields {
		var digits []byte
		if digits, rest, ok = bytes.Cut(rest, []byte{'/'}); !ok {
			return m, false
		}
		n, err := strconv.ParseInt(string(digits), 10, 64)
		if err != nil || n < 0 {
			return m, false
		}
		fields[i] = n
	}
	return marker{int(fields[0]), int(fields[1]), int(fields[2]), fields[3]}, true
}

// padding fills bodies up.
var padding = strings.Repeat("x", maxBodySize)

// appendMessage appends a user message's body, padded to size bytes where it
// is shorter. Its conversation is the round's own, so that each round's
// sessions begin anew.
func appendMessage(b []byte, m marker, size int) []byte {
	start := len(b)
	b = append(b, `{"conversationId":"bench-`...)
	b = strconv.AppendInt(b, int64(m.Round), 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(m.Conversation), 10)
	b = append(b, `","message":{"textMessage":{"text":"`...)
	b = m.append(b)
	const end = `"}}}`
	if missing := size - len(end) - (len(b) - start); missing > 0 {
		b = append(b, padding[:missing]...)
	}
	return append(b, end...)
}

func sentAgo(m marker, now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - m.SentAt)
}
