package registry

import (
	"cmp"
	"crypto/subtle"
	"maps"
	"slices"

	"github.com/parleyhq/parley/pkg/chat"
)

// Kind is a kind of record; it is also the first part of its key.
type Kind string

// The kinds of record.
const (
	KindChannel  Kind = "channel"
	KindEndpoint Kind = "endpoint"
	KindBot      Kind = "bot"
	KindToken    Kind = "token"
)

type record[T any] struct {
	value    *T
	revision uint64
}

type table[T any] map[string]record[T]

func (t table[T]) get(id string) (*T, bool) {
	r, ok := t[id]
	return r.value, ok
}

func (t table[T]) sorted() []*T {
	out := make([]*T, 0, len(t))
	for _, id := range slices.Sorted(maps.Keys(t)) {
		out = append(out, t[id].value)
	}
	return out
}

// Snapshot is the configuration at one revision. It never changes, and what
// its methods return must not be changed.
type Snapshot struct {
	revision  uint64
	channels  table[chat.Channel]
	endpoints table[chat.Endpoint]
	bots      table[chat.Bot]
	tokens    table[chat.Token]

	endpointsOf map[string][]*chat.Endpoint // by channel
	channelsOf  map[string][]*chat.Channel  // by bot
	unreadable  map[string]error            // by key

	superseded chan struct{} // closed when a newer one is in place
}

// Revision is the bucket's revision that the snapshot shows.
func (s *Snapshot) Revision() uint64 { return s.revision }

// Channel returns a channel.
func (s *Snapshot) Channel(id string) (*chat.Channel, bool) { return s.channels.get(id) }

// Endpoint returns an endpoint.
func (s *Snapshot) Endpoint(id string) (*chat.Endpoint, bool) { return s.endpoints.get(id) }

// Bot returns a bot.
func (s *Snapshot) Bot(id string) (*chat.Bot, bool) { return s.bots.get(id) }

// Token returns a token's record.
func (s *Snapshot) Token(id string) (*chat.Token, bool) { return s.tokens.get(id) }

// EndpointsOf returns a channel's endpoints, by id.
func (s *Snapshot) EndpointsOf(channelID string) []*chat.Endpoint { return s.endpointsOf[channelID] }

// Wants reports whether an endpoint of the channel asks for an event.
func (s *Snapshot) Wants(channelID, event string) bool {
	return slices.ContainsFunc(s.endpointsOf[channelID], func(e *chat.Endpoint) bool { return e.Wants(event) })
}

// ChannelsOfBot returns the channels that a bot serves, by id.
func (s *Snapshot) ChannelsOfBot(botID string) []*chat.Channel { return s.channelsOf[botID] }

// Channels returns all channels, by id.
func (s *Snapshot) Channels() []*chat.Channel { return s.channels.sorted() }

// Endpoints returns all endpoints, by id.
func (s *Snapshot) Endpoints() []*chat.Endpoint { return s.endpoints.sorted() }

// Bots returns all bots, by id.
func (s *Snapshot) Bots() []*chat.Bot { return s.bots.sorted() }

// Tokens returns the records of all tokens, by id.
func (s *Snapshot) Tokens() []*chat.Token { return s.tokens.sorted() }

// RecordRevision returns the revision of a record's last write.
func (s *Snapshot) RecordRevision(kind Kind, id string) (uint64, bool) {
	switch kind {
	case KindChannel:
		r, ok := s.channels[id]
		return r.revision, ok
	case KindEndpoint:
		r, ok := s.endpoints[id]
		return r.revision, ok
	case KindBot:
		r, ok := s.bots[id]
		return r.revision, ok
	case KindToken:
		r, ok := s.tokens[id]
		return r.revision, ok
	}
	return 0, false
}

// ChannelByVerifyToken returns the bot's channel that has an endpoint with
// this verify token. Every candidate is compared, each in constant time.
func (s *Snapshot) ChannelByVerifyToken(botID, verifyToken string) (*chat.Channel, bool) {
	var found *chat.Channel
	given := []byte(verifyToken)
	for _, c := range s.channelsOf[botID] {
		for _, e := range s.endpointsOf[c.ID] {
			stored := []byte(e.VerifyToken.Reveal())
			if subtle.ConstantTimeCompare(stored, given) == 1 && len(given) > 0 && found == nil {
				found = c
			}
		}
	}
	return found, found != nil
}

// draft is a snapshot in the making: it copies what it changes.
type draft struct {
	next      *Snapshot
	copied    map[Kind]bool
	badCopied bool
	channels  map[string]bool // whose endpoints changed
	bots      map[string]bool // whose channels changed
}

func newDraft(from *Snapshot) *draft {
	next := *from
	next.superseded = make(chan struct{})
	return &draft{next: &next, copied: map[Kind]bool{}, channels: map[string]bool{}, bots: map[string]bool{}}
}

// touch copies a kind's table before its first change.
func (d *draft) touch(kind Kind) {
	if d.copied[kind] {
		return
	}
	d.copied[kind] = true
	n := d.next
	switch kind {
	case KindChannel:
		n.channels = copied(n.channels)
	case KindEndpoint:
		n.endpoints = copied(n.endpoints)
	case KindBot:
		n.bots = copied(n.bots)
	case KindToken:
		n.tokens = copied(n.tokens)
	}
}

func copied[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return make(M)
	}
	return maps.Clone(m)
}

// put places a decoded record.
func (d *draft) put(kind Kind, id string, value any, revision uint64) {
	d.remove(kind, id)
	n := d.next
	switch v := value.(type) {
	case *chat.Channel:
		n.channels[id] = record[chat.Channel]{v, revision}
		d.bots[v.BotID] = true
	case *chat.Endpoint:
		n.endpoints[id] = record[chat.Endpoint]{v, revision}
		d.channels[v.ChannelID] = true
	case *chat.Bot:
		n.bots[id] = record[chat.Bot]{v, revision}
	case *chat.Token:
		n.tokens[id] = record[chat.Token]{v, revision}
	}
}

// remove takes a record out, if it is there.
func (d *draft) remove(kind Kind, id string) {
	d.touch(kind)
	n := d.next
	switch kind {
	case KindChannel:
		if c, ok := n.channels.get(id); ok {
			d.bots[c.BotID] = true
		}
		delete(n.channels, id)
	case KindEndpoint:
		if e, ok := n.endpoints.get(id); ok {
			d.channels[e.ChannelID] = true
		}
		delete(n.endpoints, id)
	case KindBot:
		delete(n.bots, id)
	case KindToken:
		delete(n.tokens, id)
	}
}

// unreadable notes (or, with nil, forgets) why a key's record can't be read.
func (d *draft) unreadable(key string, err error) {
	if _, noted := d.next.unreadable[key]; !noted && err == nil {
		return
	}
	if !d.badCopied {
		d.badCopied = true
		d.next.unreadable = copied(d.next.unreadable)
	}
	if err == nil {
		delete(d.next.unreadable, key)
		return
	}
	d.next.unreadable[key] = err
}

// finish brings the indexes up to date: one pass, however many changes.
func (d *draft) finish() *Snapshot {
	n := d.next
	if len(d.channels) > 0 {
		n.endpointsOf = reindex(n.endpointsOf, d.channels, n.endpoints,
			func(e *chat.Endpoint) (string, string) { return e.ChannelID, e.ID })
	}
	if len(d.bots) > 0 {
		n.channelsOf = reindex(n.channelsOf, d.bots, n.channels,
			func(c *chat.Channel) (string, string) { return c.BotID, c.ID })
	}
	return n
}

// reindex rebuilds the lists of the changed owners; keys returns a record's
// owner and id.
func reindex[T any](old map[string][]*T, changed map[string]bool, all table[T], keys func(*T) (owner, id string)) map[string][]*T {
	index := copied(old)
	for owner := range changed {
		delete(index, owner)
	}
	for _, r := range all {
		if owner, _ := keys(r.value); changed[owner] {
			index[owner] = append(index[owner], r.value)
		}
	}
	for owner := range changed {
		slices.SortFunc(index[owner], func(a, b *T) int {
			_, x := keys(a)
			_, y := keys(b)
			return cmp.Compare(x, y)
		})
	}
	return index
}
