package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/parleyhq/parley/pkg/chat"
)

// Every message is encoded up to five times on its way (user message, bot
// message, session, journal), so what is on the way is encoded by hand: in the
// order of the schema's numbers (a oneof's last) and without the fields that have their default,
// which is byte for byte what proto.Marshal makes.

// encoder appends fields; err is the first thing that can't be encoded.
type encoder struct {
	b   []byte
	err error
}

// tag appends a field's tag, which is one byte up to number 15.
func (e *encoder) tag(field byte, kind protowire.Type) []byte {
	return append(e.b, field<<3|byte(kind))
}

func (e *encoder) text(field byte, s string) {
	if s == "" {
		return
	}
	if !utf8.ValidString(s) {
		e.fail(errBrokenText)
	}
	e.b = protowire.AppendString(e.tag(field, protowire.BytesType), s)
}

func (e *encoder) bytes(field byte, p []byte) {
	if len(p) > 0 {
		e.b = protowire.AppendBytes(e.tag(field, protowire.BytesType), p)
	}
}

// flag appends a field of any number where it is set.
func (e *encoder) flag(field protowire.Number, set bool) {
	if set {
		e.b = append(protowire.AppendTag(e.b, field, protowire.VarintType), 1)
	}
}

func (e *encoder) number(field byte, n uint64) {
	if n != 0 {
		e.b = protowire.AppendVarint(e.tag(field, protowire.VarintType), n)
	}
}

// open begins an embedded message; close, with what open returned, ends it.
func (e *encoder) open(field byte) (start int) {
	e.b = e.tag(field, protowire.BytesType)
	return len(e.b)
}

// close puts the message's length before it.
func (e *encoder) close(start int) {
	end := len(e.b)
	e.b = protowire.AppendVarint(e.b, uint64(end-start))
	var length [10]byte
	n := copy(length[:], e.b[end:])
	copy(e.b[start+n:], e.b[start:end])
	copy(e.b[start:], length[:n])
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func (e *encoder) done(what string) ([]byte, error) {
	if e.err != nil {
		return nil, encodeError(what, e.err)
	}
	return e.b, nil
}

// overhead is about what the tags, lengths and numbers of an envelope take.
const overhead = 96

func userSize(m *chat.UserMessage) int {
	return overhead + len(m.ID) + len(m.ChannelID) + len(m.ConversationID) + len(m.Input.Body) +
		len(m.SessionData) + len(m.User) + len(m.Locale) + len(m.Traceparent)
}

func (e *encoder) user(m *chat.UserMessage) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		e.fail(err)
		return
	}
	kind, err := kindToProto(m.Input.Kind)
	if err != nil {
		e.fail(err)
		return
	}
	e.text(1, m.ID)
	e.text(2, m.ChannelID)
	e.text(3, m.ConversationID)
	e.number(4, uint64(millis(m.AcceptedAt)))
	e.number(5, m.ConfigRevision)
	e.number(6, uint64(kind))
	e.bytes(7, m.Input.Body)
	e.bytes(8, m.SessionData)
	e.bytes(9, m.User)
	e.text(10, m.Locale)
	e.text(11, m.Traceparent)
	e.number(12, uint64(millis(m.ExpiresAt)))
	e.flag(13, m.Supersede)
}

func botSize(m *chat.BotMessage) int {
	return overhead + len(m.ID) + len(m.ChannelID) + len(m.ConversationID) + len(m.BotID) + len(m.InputID) +
		len(m.Event) + len(m.Message) + len(m.NLP) + len(m.Traceparent)
}

func (e *encoder) bot(m *chat.BotMessage) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		e.fail(err)
		return
	}
	e.text(1, m.ID)
	e.text(2, m.ChannelID)
	e.text(3, m.ConversationID)
	e.text(4, m.BotID)
	e.number(5, m.Ordinal.Epoch)
	e.number(6, m.Ordinal.Counter)
	e.text(7, m.InputID)
	e.number(8, uint64(m.Ordinal.InputAt))
	e.number(9, uint64(millis(m.CreatedAt)))
	e.number(10, m.ConfigRevision)
	e.text(11, m.Event)
	e.bytes(12, m.Message)
	e.bytes(13, m.NLP)
	e.text(14, m.Traceparent)
	e.number(15, uint64(millis(m.ExpiresAt)))
	e.flag(16, m.Supersede)
}

func outputSize(list []chat.BotMessage) (n int) {
	for i := range list {
		n += botSize(&list[i])
	}
	return n
}

func (e *encoder) output(field byte, list []chat.BotMessage) {
	for i := range list {
		start := e.open(field)
		e.bot(&list[i])
		e.close(start)
	}
}

func sessionSize(s *chat.Session) int {
	return overhead + len(s.ChannelID) + len(s.ConversationID) + len(s.LastInputID) + len(s.BotID) +
		len(s.Dialog) + len(s.Variables) + len(s.User) + len(s.Locale) + outputSize(s.LastOutput)
}

func (e *encoder) session(s *chat.Session) {
	e.text(1, s.ChannelID)
	e.text(2, s.ConversationID)
	e.number(3, s.Epoch)
	e.number(4, s.Counter)
	e.number(5, s.LastInputSeq)
	e.number(6, uint64(s.LastInputAt))
	e.text(7, s.LastInputID)
	e.output(8, s.LastOutput)
	e.text(9, s.BotID)
	e.bytes(10, s.Dialog)
	e.bytes(11, s.Variables)
	e.bytes(12, s.User)
	e.text(13, s.Locale)
	e.flag(14, s.Paused)
	e.number(15, uint64(s.LastPlaceAt))
}

func turnSize(t *chat.Turn) int {
	return overhead + len(t.Input.ChannelID) + len(t.Input.ConversationID) + len(t.BotID) + len(t.Outcome) +
		userSize(&t.Input) + outputSize(t.Output) + attemptSize(t.Attempt)
}

// turn is a journal entry.
func (e *encoder) turn(t *chat.Turn) {
	e.number(1, uint64(millis(t.At)))
	e.text(2, t.Input.ChannelID)
	e.text(3, t.Input.ConversationID)
	e.flag(6, t.NoBodies)
	entry := e.open(4)
	input := e.open(1)
	e.user(&t.Input)
	e.close(input)
	e.output(2, t.Output)
	e.text(3, t.BotID)
	e.number(4, uint64(micros(t.Duration)))
	e.text(5, string(t.Outcome))
	e.attempt(6, t.Attempt)
	e.close(entry)
}

func attemptSize(a *chat.Attempt) int {
	if a == nil {
		return 0
	}
	return overhead + len(a.Error) + len(a.Excerpt)
}

// attempt is nothing where there was none.
func (e *encoder) attempt(field byte, a *chat.Attempt) {
	if a == nil {
		return
	}
	start := e.open(field)
	e.number(1, uint64(millis(a.At)))
	e.number(2, uint64(micros(a.Duration)))
	e.number(3, uint64(int64(count(a.Status))))
	e.text(4, a.Error)
	e.bytes(5, a.Excerpt)
	e.close(start)
}

func deliverySize(d *chat.Delivery) int {
	return overhead + len(d.ChannelID) + len(d.ConversationID) + len(d.MessageID) + len(d.EndpointID) + len(d.Outcome) + len(d.Reason) + len(d.Replay) + attemptSize(d.Attempt)
}

// delivery is a journal entry.
func (e *encoder) delivery(d *chat.Delivery) {
	e.number(1, uint64(millis(d.At)))
	e.text(2, d.ChannelID)
	e.text(3, d.ConversationID)
	e.flag(6, d.NoBodies)
	entry := e.open(5)
	e.text(1, d.MessageID)
	e.text(2, d.EndpointID)
	e.number(3, d.Ordinal.Epoch)
	e.number(4, d.Ordinal.Counter)
	e.number(5, uint64(int64(count(d.AttemptNumber))))
	e.attempt(6, d.Attempt)
	e.text(7, string(d.Outcome))
	e.number(8, uint64(d.Ordinal.InputAt))
	e.text(9, d.Reason)
	e.text(10, d.Replay)
	e.close(entry)
}
