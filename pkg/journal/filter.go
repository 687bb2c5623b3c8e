package journal

import (
	"bytes"
	"slices"

	"github.com/parleyhq/parley/pkg/broker"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
	"github.com/parleyhq/parley/pkg/wire"
)

// Filter chooses entries; an empty field lets every value through. The broker
// knows the channel and the conversation of an entry, for the rest it is read.
type Filter struct {
	ChannelID string
	Key       *chat.ConversationKey
	// MessageID lets through what is about a message: the turn of a user message,
	// the turn that made a bot message, and the latter's deliveries.
	MessageID  string
	EndpointID string // deliveries alone have one
	Outcome    chat.Outcome
	Status     int  // HTTP status of the attempt
	Deliveries bool // only those
	Turns      bool // only those
}

// subject is what of the filter the broker knows.
func (f *Filter) subject() string { return topology.JournalEntries(f.ChannelID, f.Key) }

// mayMatch tells, without decoding an entry, those apart that can't match.
func (f *Filter) mayMatch(data []byte) bool {
	for _, text := range []string{f.MessageID, f.EndpointID, string(f.Outcome)} {
		if text != "" && !bytes.Contains(data, []byte(text)) {
			return false
		}
	}
	if f.Deliveries || f.EndpointID != "" {
		return wire.IsDelivery(data)
	}
	return !f.Turns || !wire.IsDelivery(data)
}

// Matches reports whether the filter lets an entry through.
func (f *Filter) Matches(e *Entry) bool {
	switch {
	case e.Turn != nil:
		return !f.Deliveries && f.EndpointID == "" && f.turn(e.Turn)
	case e.Delivery != nil:
		return !f.Turns && f.delivery(e.Delivery)
	}
	return false
}

func (f *Filter) turn(t *chat.Turn) bool {
	about := f.MessageID == "" || f.MessageID == t.Input.ID ||
		slices.ContainsFunc(t.Output, func(m chat.BotMessage) bool { return m.ID == f.MessageID })
	return about && f.rest(t.Input.ChannelID, t.Input.Key(), t.Outcome, t.Attempt)
}

func (f *Filter) delivery(d *chat.Delivery) bool {
	return (f.MessageID == "" || f.MessageID == d.MessageID) && (f.EndpointID == "" || f.EndpointID == d.EndpointID) &&
		f.rest(d.ChannelID, chat.KeyOf(d.ChannelID, d.ConversationID), d.Outcome, d.Attempt)
}

func (f *Filter) rest(channelID string, key chat.ConversationKey, outcome chat.Outcome, a *chat.Attempt) bool {
	return (f.ChannelID == "" || f.ChannelID == channelID) && (f.Key == nil || *f.Key == key) &&
		(f.Outcome == "" || f.Outcome == outcome) && (f.Status == 0 || a != nil && f.Status == a.Status)
}

// entryOf reads what is stored; ok is false for an entry that doesn't match. One
// that can't be read matches, since nobody knows.
func (f *Filter) entryOf(m *broker.Stored) (e Entry, ok bool) {
	if !f.mayMatch(m.Data) {
		return e, false
	}
	e = Entry{Seq: m.Seq, StoredAt: m.Time}
	if e.Turn, e.Delivery, e.Unreadable = wire.DecodeJournalEntry(m.Data); e.Unreadable != nil {
		return e, true
	}
	return e, f.Matches(&e)
}
