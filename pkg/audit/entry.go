package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The kinds of objects that operators change.
const (
	KindChannel      = "channel"
	KindEndpoint     = "endpoint"
	KindBot          = "bot"
	KindToken        = "token"
	KindLane         = "lane"
	KindDeadLetter   = "dead-letter"
	KindReplay       = "replay"
	KindConversation = "conversation"
	// KindConfiguration is all of the objects above that are configured.
	KindConfiguration = "configuration"
	KindOther         = "other"
)

// Kinds returns all of them.
func Kinds() []string {
	return []string{
		KindChannel, KindEndpoint, KindBot, KindToken, KindLane, KindDeadLetter, KindReplay, KindConversation, KindConfiguration, KindOther,
	}
}

// Bounds of an entry, in bytes. A text that is longer is cut.
const (
	MaxText   = 256
	MaxDetail = 4 << 10
)

// Entry is one thing that was done.
type Entry struct {
	Seq uint64    `json:"-"` // its place: the later, the higher
	At  time.Time `json:"-"` // when it was stored

	By      string `json:"by"`                // the token's name
	TokenID string `json:"tokenId,omitempty"` // empty: the bootstrap token
	Remote  string `json:"remote,omitempty"`  // the peer's address
	Action  string `json:"action"`            // such as "endpoint.disable"
	Kind    string `json:"kind"`              // of the object: one of Kinds
	Object  string `json:"object,omitempty"`  // its id
	Query   string `json:"query,omitempty"`   // what was asked beside
	// Status is what the request was answered with. From 500 on it is not known
	// whether the change was made.
	Status int `json:"status"`
	// Detail is a JSON object: what came of it. One above MaxDetail is replaced
	// by {"cutFrom": its bytes, "begins": its beginning}.
	Detail    json.RawMessage `json:"detail,omitempty"`
	RequestID string          `json:"requestId,omitempty"` // as the client gave it
}

// formVersion is of the stored form. A reader of a lower version leaves entries
// of a higher one out.
const formVersion = 1

type form struct {
	Version int `json:"v"`
	Entry
}

// encode bounds an entry and makes its stored form.
func (e Entry) encode() ([]byte, error) {
	if !slices.Contains(Kinds(), e.Kind) {
		return nil, fmt.Errorf("%q is no kind: use one of %s", e.Kind, strings.Join(Kinds(), ", "))
	}
	for _, text := range []*string{&e.By, &e.TokenID, &e.Remote, &e.Action, &e.Object, &e.Query, &e.RequestID} {
		*text = begin(*text, MaxText)
	}
	if len(e.Detail) > MaxDetail {
		cut, err := json.Marshal(struct {
			CutFrom int    `json:"cutFrom"`
			Begins  string `json:"begins"`
		}{len(e.Detail), begin(string(e.Detail), MaxDetail/2)}) // its quotes take twice as much again
		if err != nil {
			return nil, err
		}
		e.Detail = cut
	}
	return json.Marshal(form{Version: formVersion, Entry: e})
}

func decode(data []byte) (Entry, error) {
	var f form
	if err := json.Unmarshal(data, &f); err != nil {
		return Entry{}, err
	}
	if f.Version != formVersion {
		return Entry{}, fmt.Errorf("version %d of the stored form is not known", f.Version)
	}
	return f.Entry, nil
}

// begin returns the beginning of a text, whole characters.
func begin(text string, most int) string {
	return strings.ToValidUTF8(text[:min(most, len(text))], "")
}
