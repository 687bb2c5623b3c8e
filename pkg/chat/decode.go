package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of what comes in. Characters are Unicode code points.
const (
	MaxConversationID   = 256       // characters
	MaxText             = 10_000    // characters, of a user's or a bot's text
	MaxPostbackTitle    = 1_000     // characters
	MaxPostbackPayload  = 8_000     // characters
	MaxDialogstate      = 256       // characters
	MaxSessionDataItems = 100       // pairs in sessionDataToSet and params
	MaxSessionDataKey   = 128       // characters
	MaxFileURLs         = 20        // of one file message
	MaxURL              = 2048      // bytes
	MaxSessionData      = 16 * 1024 // bytes of compact JSON
	MaxUser             = 16 * 1024 // bytes of compact JSON
	MaxLocale           = 35        // characters
	MinExpireAfter      = time.Second
	MaxExpireAfter      = 30 * 24 * time.Hour
)

// Incoming is a valid body of a user message (or of actions).
type Incoming struct {
	ConversationID string
	Input          Input
	SessionData    json.RawMessage // a compact JSON object, or nil
	User           json.RawMessage // a compact JSON object, or nil
	Locale         string
	ExpireAfter    time.Duration // 0: never
}

// DecodeInput reads a user message in the v1 form (DESIGN, section 4). Fields
// that it doesn't know are ignored at the top level and inside user, an unknown
// kind of message is an error; null means absent. Any error is a
// *ValidationError.
func DecodeInput(body []byte) (*Incoming, error) {
	var p Problems
	in := &Incoming{}
	doc := parse(body, &p)
	if doc == nil || !doc.object("", &p) {
		return nil, p.Err()
	}
	var id, message, user value
	doc.fields(func(key []byte, v value) {
		switch string(key) {
		case "conversationId":
			id = v
		case "user":
			user = v
		case "message":
			message = v
		case "sessionData":
			in.SessionData = boundedObject(v, "/sessionData", MaxSessionData, &p)
		case "locale":
			in.Locale = decodeLocale(v, "/locale", &p)
		case "expireAfter":
			in.ExpireAfter = decodeExpireAfter(v, "/expireAfter", &p)
		}
	})
	in.ConversationID = decodeConversation(id, user, &p)
	if user != nil {
		in.User = boundedObject(user, "/user", MaxUser, &p)
	}
	if message == nil {
		p.Add("/message", "is missing: send one of "+kindNames)
	} else if message.object("/message", &p) {
		in.Input = decodeMessage(message, &p)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return in, nil
}

// decodeConversation takes the id from conversationId or user.id, which must be
// equal where both are given.
func decodeConversation(id, user value, p *Problems) string {
	var userID value
	if user != nil && user[0] == '{' {
		user.fields(func(key []byte, v value) {
			if string(key) == "id" {
				userID = v
			}
		})
	}
	switch {
	case id == nil && userID == nil:
		p.Add("/conversationId", "is missing: send conversationId or user.id")
		return ""
	case id == nil:
		return decodeID(userID, "/user/id", p)
	case userID == nil:
		return decodeID(id, "/conversationId", p)
	}
	a, b := decodeID(id, "/conversationId", p), decodeID(userID, "/user/id", p)
	if a != "" && b != "" && a != b {
		p.Add("/user/id", "differs from conversationId: send one of the two, or the same id in both")
	}
	return a
}

func decodeID(v value, pointer string, p *Problems) string {
	s, ok := v.text(pointer, 1, MaxConversationID, p)
	if !ok {
		return ""
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			p.Add(pointer, "must have no control characters and no broken surrogates")
			return ""
		}
	}
	return s
}

func boundedObject(v value, pointer string, limit int, p *Problems) json.RawMessage {
	if !v.object(pointer, p) {
		return nil
	}
	if len(v) > limit {
		p.Add(pointer, fmt.Sprintf("must have at most %d bytes, not %d", limit, len(v)))
		return nil
	}
	return json.RawMessage(v)
}

func decodeLocale(v value, pointer string, p *Problems) string {
	s, ok := v.text(pointer, 1, MaxLocale, p)
	if ok && !ValidLocale(s) {
		p.Add(pointer, `must be a language tag (BCP 47) such as "en" or "nl-BE"`)
		return ""
	}
	return s
}

// decodeExpireAfter reads a time in seconds, exact to the millisecond.
func decodeExpireAfter(v value, pointer string, p *Problems) time.Duration {
	seconds := v.number(pointer, MinExpireAfter.Seconds(), MaxExpireAfter.Seconds(), p)
	return time.Duration(seconds*1000) * time.Millisecond
}

// ValidLocale reports whether s has the shape of a BCP 47 language tag: two to
// eight letters, then subtags of one to eight letters or digits.
func ValidLocale(s string) bool {
	if len(s) > MaxLocale {
		return false
	}
	for i, tag := range strings.Split(s, "-") {
		if len(tag) > 8 || len(tag) < 1 || i == 0 && len(tag) < 2 {
			return false
		}
		for _, c := range []byte(tag) {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if !letter && (i == 0 || c < '0' || c > '9') {
				return false
			}
		}
	}
	return true
}
