package webhook

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/pkg/chat"
)

// RenderBody returns the body of a bot message's POST: senderId, recipient,
// verifyToken (left out when empty), message, messageCounter, nlp (left out
// when empty), in this order and without white space of its own. Equal
// arguments give equal bytes. message and nlp are JSON and are copied as they
// are; an empty message renders as null.
func RenderBody(senderID string, verifyToken chat.Secret, message json.RawMessage, counter uint64, nlp json.RawMessage) []byte {
	const fixed = len(`{"senderId":"","recipient":{"id":""},"verifyToken":"","message":null,"messageCounter":18446744073709551615,"nlp":}`)
	b := make([]byte, 0, fixed+2*len(senderID)+len(verifyToken)+len(message)+len(nlp)+16)
	b = append(b, `{"senderId":`...)
	start := len(b)
	b = appendString(b, senderID)
	end := len(b)
	b = append(b, `,"recipient":{"id":`...)
	b = append(b, b[start:end]...)
	b = append(b, '}')
	if verifyToken != "" {
		b = append(b, `,"verifyToken":`...)
		b = appendString(b, verifyToken.Reveal())
	}
	b = append(b, `,"message":`...)
	if len(message) == 0 {
		message = json.RawMessage("null")
	}
	b = append(b, message...)
	b = append(b, `,"messageCounter":`...)
	b = strconv.AppendUint(b, counter, 10)
	if len(nlp) > 0 {
		b = append(b, `,"nlp":`...)
		b = append(b, nlp...)
	}
	return append(b, '}')
}

// eventTime is how an event's time is written: RFC 3339 in UTC, with milliseconds.
const eventTime = "2006-01-02T15:04:05.000Z"

// RenderEvent returns the body of an event's POST: type, timestamp, channelId,
// verifyToken (left out when empty), data, in the manner of RenderBody. data is
// JSON and is copied as it is; empty it renders as null.
func RenderEvent(event string, at time.Time, channelID string, verifyToken chat.Secret, data json.RawMessage) []byte {
	const fixed = len(`{"type":"","timestamp":"2006-01-02T15:04:05.000Z","channelId":"","verifyToken":"","data":null}`)
	b := make([]byte, 0, fixed+len(event)+len(channelID)+len(verifyToken)+len(data)+16)
	b = append(b, `{"type":`...)
	b = appendString(b, event)
	b = append(b, `,"timestamp":"`...)
	b = at.UTC().AppendFormat(b, eventTime)
	b = append(b, `","channelId":`...)
	b = appendString(b, channelID)
	if verifyToken != "" {
		b = append(b, `,"verifyToken":`...)
		b = appendString(b, verifyToken.Reveal())
	}
	b = append(b, `,"data":`...)
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	b = append(b, data...)
	return append(b, '}')
}

// appendString appends s as a JSON string (RFC 8259) with the escapes of
// encoding/json without HTML escaping: what must be escaped, U+2028 and U+2029,
// and U+FFFD in place of bytes that are not UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0 // s[from:i] goes as it is
	for i := 0; i < len(s); {
		if c := s[i]; c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		var size int
		b, size = appendRune(b, s[i:])
		i += size
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendRune appends the first rune of s, escaped if it must be, and returns how
// many bytes of s that was.
func appendRune(b []byte, s string) ([]byte, int) {
	const hex = "0123456789abcdef"
	switch c := s[0]; {
	case c == '"' || c == '\\':
		return append(b, '\\', c), 1
	case c == '\b':
		return append(b, `\b`...), 1
	case c == '\f':
		return append(b, `\f`...), 1
	case c == '\n':
		return append(b, `\n`...), 1
	case c == '\r':
		return append(b, `\r`...), 1
	case c == '\t':
		return append(b, `\t`...), 1
	case c < 0x20:
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf]), 1
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size == 1:
		return append(b, `\ufffd`...), size
	case r == '\u2028':
		return append(b, `\u2028`...), size
	case r == '\u2029':
		return append(b, `\u2029`...), size
	}
	return append(b, s[:size]...), size
}
