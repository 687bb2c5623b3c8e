package bench

import (
	"bytes"
	"strconv"
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
	for _, n := range []int64{int64(m.Round), int64(m.Conversation), int64(m.Sequence), m.SentAt} {
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

// conversationID is unique over rounds, so that each round's sessions begin
// anew.
func conversationID(round, conversation int) string {
	return "bench-" + strconv.Itoa(round) + "-" + strconv.Itoa(conversation)
}

// userMessage builds a user message's body, padded to size bytes where it is
// shorter.
func userMessage(b []byte, m marker, size int) []byte {
	b = append(b[:0], `{"conversationId":"`...)
	b = append(b, conversationID(m.Round, m.Conversation)...)
	b = append(b, `","message":{"textMessage":{"text":"`...)
	b = m.append(b)
	const end = `"}}}`
	for len(b)+len(end) < size {
		b = append(b, 'x')
	}
	return append(b, end...)
}

func sentAgo(m marker, now time.Time) time.Duration {
	return time.Duration(now.UnixNano() - m.SentAt)
}
