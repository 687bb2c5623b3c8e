package wire

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// What every stage decodes is decoded by hand, by the rules of proto.Unmarshal:
// the last value of a field counts, unknown fields are passed over, a field of
// another wire type than the schema's is one of them.

// fields calls number or text for each field of b up to the last, by wire type.
func fields(b []byte, number func(protowire.Number, uint64), data func(protowire.Number, []byte)) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			v, size := protowire.ConsumeVarint(b)
			if n = size; n >= 0 {
				number(field, v)
			}
		case protowire.BytesType:
			v, size := protowire.ConsumeBytes(b)
			if n = size; n >= 0 {
				data(field, v)
			}
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}

var errBrokenText = errors.New("a text is not valid UTF-8")

// texts are an envelope's texts. A value that another follows must be UTF-8 too.
type texts struct {
	of     [7][]byte
	broken bool
}

func (t *texts) set(i int, b []byte) {
	t.of[i] = b
	t.broken = t.broken || !utf8.Valid(b)
}

// strings makes strings that share one allocation, which holds nothing else: who
// keeps one of an envelope's texts keeps few bytes.
func (t *texts) strings(to ...*string) error {
	if t.broken {
		return errBrokenText
	}
	var few [256]byte
	all := few[:0]
	for _, b := range t.of {
		all = append(all, b...)
	}
	rest := string(all)
	for i, s := range to {
		n := len(t.of[i])
		*s, rest = rest[:n], rest[n:]
	}
	return nil
}

// fieldVersion is the version's number in every message that is stored.
const fieldVersion = 100

func scanUser(b []byte, m *chat.UserMessage) error {
	var text texts
	var kind, version uint64
	err := fields(b, func(field protowire.Number, n uint64) {
		switch field {
		case 4:
			m.AcceptedAt = fromMillis(int64(n))
		case 5:
			m.ConfigRevision = n
		case 6:
			kind = n
		case 12:
			m.ExpiresAt = fromMillis(int64(n))
		case 13:
			m.Supersede = n != 0
		case fieldVersion:
			version = n
		}
	}, func(field protowire.Number, b []byte) {
		switch field {
		case 1, 2, 3:
			text.set(int(field-1), b)
		case 7:
			m.Input.Body = raw(b)
		case 8:
			m.SessionData = raw(b)
		case 9:
			m.User = raw(b)
		case 10, 11:
			text.set(int(field-7), b)
		}
	})
	if err == nil {
		err = checkVersion(uint64(uint32(version)))
	}
	if err != nil {
		return err
	}
	if m.Input.Kind, err = kindFromProto(parleyv1.InputKind(int32(kind))); err != nil {
		return err
	}
	if err := text.strings(&m.ID, &m.ChannelID, &m.ConversationID, &m.Locale, &m.Traceparent); err != nil {
		return err
	}
	return checkIdentity(m.ID, m.ChannelID, m.ConversationID)
}

func scanBot(b []byte, m *chat.BotMessage) error {
	var text texts
	var version uint64
	err := fields(b, func(field protowire.Number, n uint64) {
		switch field {
		case 5:
			m.Ordinal.Epoch = n
		case 6:
			m.Ordinal.Counter = n
		case 8:
			m.Ordinal.InputAt = int64(n)
		case 9:
			m.CreatedAt = fromMillis(int64(n))
		case 10:
			m.ConfigRevision = n
		case 15:
			m.ExpiresAt = fromMillis(int64(n))
		case 16:
			m.Supersede = n != 0
		case fieldVersion:
			version = n
		}
	}, func(field protowire.Number, b []byte) {
		switch field {
		case 1, 2, 3, 4:
			text.set(int(field-1), b)
		case 7:
			text.set(4, b)
		case 11:
			text.set(5, b)
		case 12:
			m.Message = raw(b)
		case 13:
			m.NLP = raw(b)
		case 14:
			text.set(6, b)
		}
	})
	if err == nil {
		err = checkVersion(uint64(uint32(version)))
	}
	if err != nil {
		return err
	}
	if err := text.strings(&m.ID, &m.ChannelID, &m.ConversationID, &m.BotID, &m.InputID, &m.Event, &m.Traceparent); err != nil {
		return err
	}
	return checkIdentity(m.ID, m.ChannelID, m.ConversationID)
}
