package wire

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// What is encoded and decoded by hand is held against the generated code.

func userToProto(m *chat.UserMessage) (*parleyv1.UserMessage, error) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		return nil, err
	}
	kind, err := kindToProto(m.Input.Kind)
	if err != nil {
		return nil, err
	}
	return &parleyv1.UserMessage{
		Id:             m.ID,
		ChannelId:      m.ChannelID,
		ConversationId: m.ConversationID,
		AcceptedAtMs:   millis(m.AcceptedAt),
		ConfigRevision: m.ConfigRevision,
		Kind:           kind,
		Input:          m.Input.Body,
		SessionData:    m.SessionData,
		User:           m.User,
		Locale:         m.Locale,
		Traceparent:    m.Traceparent,
		ExpiresAtMs:    millis(m.ExpiresAt),
		Supersede:      m.Supersede,
	}, nil
}

func botToProto(m *chat.BotMessage) (*parleyv1.BotMessage, error) {
	if err := checkIdentity(m.ID, m.ChannelID, m.ConversationID); err != nil {
		return nil, err
	}
	return &parleyv1.BotMessage{
		Id:             m.ID,
		ChannelId:      m.ChannelID,
		ConversationId: m.ConversationID,
		BotId:          m.BotID,
		Epoch:          m.Ordinal.Epoch,
		Counter:        m.Ordinal.Counter,
		InputId:        m.InputID,
		InputAtMs:      m.Ordinal.InputAt,
		CreatedAtMs:    millis(m.CreatedAt),
		ConfigRevision: m.ConfigRevision,
		Event:          m.Event,
		Message:        m.Message,
		Nlp:            m.NLP,
		Traceparent:    m.Traceparent,
		ExpiresAtMs:    millis(m.ExpiresAt),
		Supersede:      m.Supersede,
	}, nil
}

func outputToProto(list []chat.BotMessage) ([]*parleyv1.BotMessage, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]*parleyv1.BotMessage, len(list))
	for i := range list {
		p, err := botToProto(&list[i])
		if err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
		out[i] = p
	}
	return out, nil
}

func sessionToProto(s *chat.Session) (*parleyv1.Session, error) {
	p := &parleyv1.Session{
		ChannelId:      s.ChannelID,
		ConversationId: s.ConversationID,
		Epoch:          s.Epoch,
		Counter:        s.Counter,
		LastInputSeq:   s.LastInputSeq,
		LastInputMs:    s.LastInputAt,
		LastInputId:    s.LastInputID,
		BotId:          s.BotID,
		Dialog:         s.Dialog,
		Variables:      s.Variables,
		User:           s.User,
		Locale:         s.Locale,
		Paused:         s.Paused,
		LastPlaceMs:    s.LastPlaceAt,
	}
	var err error
	if p.LastOutput, err = outputToProto(s.LastOutput); err != nil {
		return nil, err
	}
	return p, nil
}

func turnToProto(t *chat.Turn) (*parleyv1.JournalEntry, error) {
	input, err := userToProto(&t.Input)
	if err != nil {
		return nil, err
	}
	output, err := outputToProto(t.Output)
	if err != nil {
		return nil, err
	}
	p := &parleyv1.Turn{
		Input:      input,
		Output:     output,
		BotId:      t.BotID,
		DurationUs: micros(t.Duration),
		Outcome:    string(t.Outcome),
	}
	if t.Attempt != nil {
		p.Attempt = attemptToProto(t.Attempt)
	}
	return &parleyv1.JournalEntry{
		AtMs:           millis(t.At),
		ChannelId:      t.Input.ChannelID,
		ConversationId: t.Input.ConversationID,
		Entry:          &parleyv1.JournalEntry_Turn{Turn: p},
		NoBodies:       t.NoBodies,
	}, nil
}

func deliveryToProto(d *chat.Delivery) (*parleyv1.JournalEntry, error) {
	p := &parleyv1.Delivery{
		MessageId:     d.MessageID,
		EndpointId:    d.EndpointID,
		Epoch:         d.Ordinal.Epoch,
		Counter:       d.Ordinal.Counter,
		InputAtMs:     d.Ordinal.InputAt,
		AttemptNumber: count(d.AttemptNumber),
		Outcome:       string(d.Outcome),
		Reason:        d.Reason,
		Replay:        d.Replay,
	}
	if d.Attempt != nil {
		p.Attempt = attemptToProto(d.Attempt)
	}
	return &parleyv1.JournalEntry{
		AtMs:           millis(d.At),
		ChannelId:      d.ChannelID,
		ConversationId: d.ConversationID,
		Entry:          &parleyv1.JournalEntry_Delivery{Delivery: p},
		NoBodies:       d.NoBodies,
	}, nil
}

// FuzzEncode makes one of each from random parts.
func FuzzEncode(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(sameBytes))
}

func TestEncodesAsGeneratedCode(t *testing.T) { rapid.Check(t, sameBytes) }

func sameBytes(t *rapid.T) {
	text := func(label string) string {
		return rapid.OneOf(rapid.Just(""), rapid.String(), rapid.Just("\xff"), rapid.StringN(100, 300, -1)).Draw(t, label)
	}
	document := func(label string) json.RawMessage {
		return rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, label)
	}
	number := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64())
	instant := func(label string) time.Time {
		return fromMillis(rapid.Int64Range(-1<<50, 1<<50).Draw(t, label))
	}
	user := chat.UserMessage{
		ID: text("id"), ChannelID: text("channel"), ConversationID: text("conversation"), AcceptedAt: instant("at"), ExpiresAt: instant("expires"),
		Supersede: rapid.Bool().Draw(t, "supersede"), ConfigRevision: uint64(number.Draw(t, "revision")),
		Input: chat.Input{
			Kind: rapid.SampledFrom([]chat.InputKind{chat.InputText, chat.InputActions, "dance"}).Draw(t, "kind"),
			Body: document("body"),
		},
		SessionData: document("data"), User: document("user"), Locale: text("locale"), Traceparent: text("trace"),
	}
	bots := make([]chat.BotMessage, rapid.IntRange(0, 3).Draw(t, "n"))
	for i := range bots {
		bots[i] = chat.BotMessage{
			ID: text("id"), ChannelID: text("channel"), ConversationID: text("conversation"), BotID: text("bot"),
			Ordinal: chat.Ordinal{
				Epoch: uint64(number.Draw(t, "epoch")), Counter: uint64(number.Draw(t, "counter")), InputAt: number.Draw(t, "inputAt"),
			},
			InputID: text("input"), CreatedAt: instant("created"), ExpiresAt: instant("expires"), Supersede: rapid.Bool().Draw(t, "supersede"), ConfigRevision: uint64(number.Draw(t, "revision")),
			Event: text("event"), Message: document("message"), NLP: document("nlp"), Traceparent: text("trace"),
		}
		same(t, &bots[i], EncodeBotMessage, botToProto)
	}
	same(t, &user, EncodeUserMessage, userToProto)
	same(t, &chat.Session{
		ChannelID: text("channel"), ConversationID: text("conversation"), Epoch: uint64(number.Draw(t, "epoch")),
		Counter: uint64(number.Draw(t, "counter")), LastInputSeq: uint64(number.Draw(t, "seq")), LastInputAt: number.Draw(t, "inputAt"),
		LastInputID: text("input"), LastOutput: bots, BotID: text("bot"), Dialog: document("dialog"), Variables: document("variables"),
		User: document("user"), Locale: text("locale"), Paused: rapid.Bool().Draw(t, "paused"),
		LastPlaceAt: number.Draw(t, "placeAt"),
	}, EncodeSession, sessionToProto)
	var attempt *chat.Attempt
	if rapid.Bool().Draw(t, "sent") {
		attempt = &chat.Attempt{
			At: instant("at"), Duration: time.Duration(number.Draw(t, "took")), Status: int(number.Draw(t, "status")),
			Error: text("error"), Excerpt: document("excerpt"),
		}
	}
	same(t, &chat.Turn{
		At: instant("at"), Input: user, Output: bots, BotID: text("bot"), Duration: time.Duration(number.Draw(t, "took")),
		Outcome: chat.Outcome(text("outcome")), Attempt: attempt, NoBodies: rapid.Bool().Draw(t, "no bodies"),
	}, EncodeTurn, turnToProto)
	same(t, &chat.Delivery{
		At: instant("at"), ChannelID: text("channel"), ConversationID: text("conversation"), MessageID: text("message"), EndpointID: text("endpoint"),
		Ordinal:       chat.Ordinal{Epoch: uint64(number.Draw(t, "epoch")), InputAt: number.Draw(t, "inputAt")},
		AttemptNumber: int(number.Draw(t, "number")), Outcome: chat.Outcome(text("outcome")), Reason: text("reason"), Replay: text("replay"),
		Attempt: attempt, NoBodies: rapid.Bool().Draw(t, "no bodies"),
	}, EncodeDelivery, deliveryToProto)
}

func same[T any, P proto.Message](t *rapid.T, v *T, encode func(*T) ([]byte, error), convert func(*T) (P, error)) {
	t.Helper()
	got, err := encode(v)
	var want []byte
	p, wrong := convert(v)
	if wrong == nil {
		want, wrong = proto.Marshal(p)
	}
	if wrong != nil {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	require.True(t, string(want) == string(got), "%x\n%x", want, got)
}

func TestDecodesAsGeneratedCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		if rapid.Bool().Draw(t, "good so far") {
			b = append(b, "\x0a\x01a\x12\x01b\x1a\x01c\x30\x01"...) // ids, and for a user message a kind
		}
		for range rapid.IntRange(0, 12).Draw(t, "fields") {
			field := protowire.Number(rapid.OneOf(rapid.IntRange(0, 16), rapid.Just(fieldVersion)).Draw(t, "field"))
			switch kind := rapid.SampledFrom([]protowire.Type{0, 2, 2, 2, 1, 5, 3, 4}).Draw(t, "type"); kind {
			case protowire.VarintType:
				b = protowire.AppendVarint(protowire.AppendTag(b, field, kind), rapid.OneOf(rapid.Uint64Range(0, 7), rapid.Uint64()).Draw(t, "n"))
			case protowire.BytesType:
				b = protowire.AppendString(protowire.AppendTag(b, field, kind), rapid.SampledFrom([]string{"", "a", "shop", "\xff"}).Draw(t, "s"))
			default:
				b = protowire.AppendTag(b, field, kind)
				b = append(b, rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "rest")...)
			}
		}
		sameValues(t, b)
	})
}

// FuzzDecodeByHand: both decoders refuse the same, and read the same.
func FuzzDecodeByHand(f *testing.F) {
	good, err := EncodeUserMessage(&chat.UserMessage{ID: "msg_1", ChannelID: "shop", ConversationID: "1", Input: chat.Input{Kind: chat.InputText, Body: json.RawMessage(`{}`)}})
	require.NoError(f, err)
	f.Add(good)
	f.Add(append(good, 6<<3, 1, 12<<3|3, 12<<3|4, 1<<3|2, 1, 'x'))
	f.Fuzz(func(t *testing.T, b []byte) { sameValues(t, b) })
}

func sameValues(t require.TestingT, b []byte) {
	user, err := DecodeUserMessage(b)
	var up parleyv1.UserMessage
	var wantUser chat.UserMessage
	wrong := unmarshal(b, &up)
	if wrong == nil {
		wrong = userFromProto(&wantUser, &up)
	}
	require.Equal(t, wrong == nil, err == nil, fmt.Sprint(wrong, err))
	if err == nil {
		require.Equal(t, &wantUser, user)
	}
	bot, err := DecodeBotMessage(b)
	var bp parleyv1.BotMessage
	var wantBot chat.BotMessage
	if wrong = unmarshal(b, &bp); wrong == nil {
		wrong = botFromProto(&wantBot, &bp)
	}
	require.Equal(t, wrong == nil, err == nil, fmt.Sprint(wrong, err))
	if err == nil {
		require.Equal(t, &wantBot, bot)
	}
}
