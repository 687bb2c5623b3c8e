package ingest

import (
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
)

// traceparent returns the request's trace context (W3C Trace Context, header
// traceparent) in version 00, or a new one where there is none that is valid.
func traceparent(h http.Header, random func() uint64) string {
	if given := h.Values("Traceparent"); len(given) == 1 {
		if t, ok := parseTraceparent(given[0]); ok {
			return t
		}
	}
	var id [24]byte
	binary.BigEndian.PutUint64(id[0:], random())
	binary.BigEndian.PutUint64(id[8:], random())
	binary.BigEndian.PutUint64(id[16:], random())
	id[15] |= 1 // an id of zeros is invalid
	id[23] |= 1
	t := append(make([]byte, 0, traceparentLength), "00-"...)
	t = append(hex.AppendEncode(t, id[:16]), '-')
	return string(append(hex.AppendEncode(t, id[16:]), "-00"...))
}

const traceparentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

func parseTraceparent(s string) (string, bool) {
	if len(s) < traceparentLength {
		return "", false
	}
	version, fields, rest := s[:2], s[2:traceparentLength], s[traceparentLength:]
	switch {
	case !lowerHex(version) || version == "ff":
		return "", false
	case version == "00" && rest != "" || rest != "" && rest[0] != '-':
		return "", false
	case fields[0] != '-' || fields[33] != '-' || fields[50] != '-':
		return "", false
	}
	trace, parent, flags := fields[1:33], fields[34:50], fields[51:]
	if !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags) || strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return "", false
	}
	return "00" + fields, true
}

func lowerHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
