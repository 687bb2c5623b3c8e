package chat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestSupersedes(t *testing.T) {
	message := &chat.BotMessage{Event: chat.EventMessage, InputID: "in", Ordinal: chat.Ordinal{Epoch: 5, Counter: 3, InputAt: 1000}}
	for name, c := range map[string]struct {
		session chat.Session
		want    bool
	}{
		"its own turn":                           {chat.Session{Epoch: 5, Counter: 3, LastInputAt: 1000, LastInputID: "in"}, false},
		"its own turn, with more messages":       {chat.Session{Epoch: 5, Counter: 9, LastInputAt: 1000, LastInputID: "in"}, false},
		"a later turn":                           {chat.Session{Epoch: 5, Counter: 4, LastInputAt: 1001, LastInputID: "next"}, true},
		"a later turn that was silent":           {chat.Session{Epoch: 5, Counter: 3, LastInputAt: 1001, LastInputID: "next"}, true},
		"a later turn of an input of its id":     {chat.Session{Epoch: 5, Counter: 4, LastInputAt: 1001, LastInputID: "in"}, true},
		"a turn in the same millisecond":         {chat.Session{Epoch: 5, Counter: 4, LastInputAt: 1000, LastInputID: "next"}, true},
		"a silent turn in the same millisecond":  {chat.Session{Epoch: 5, Counter: 3, LastInputAt: 1000, LastInputID: "next"}, true},
		"the turn before in that millisecond":    {chat.Session{Epoch: 5, Counter: 2, LastInputAt: 1000, LastInputID: "before"}, false},
		"an earlier turn, of a session restored": {chat.Session{Epoch: 5, Counter: 2, LastInputAt: 999, LastInputID: "before"}, false},
		"a session begun anew later":             {chat.Session{Epoch: 8, Counter: 1, LastInputAt: 2000, LastInputID: "next"}, true},
		"a session begun anew at a lower epoch":  {chat.Session{Epoch: 2, Counter: 1, LastInputAt: 2000, LastInputID: "next"}, true},
		"one begun anew in that millisecond":     {chat.Session{Epoch: 8, Counter: 7, LastInputAt: 1000, LastInputID: "next"}, false},
		"one begun anew by a clock that fell":    {chat.Session{Epoch: 8, Counter: 7, LastInputAt: 900, LastInputID: "next"}, false},
		"its own turn, with an event after it":   {chat.Session{Epoch: 5, Counter: 3, LastInputAt: 1000, LastPlaceAt: 1001, LastInputID: "in"}, false},
		"a later turn within an event's reach":   {chat.Session{Epoch: 5, Counter: 4, LastInputAt: 1000, LastPlaceAt: 1002, LastInputID: "next"}, true},
		"one before, whose events reach as far":  {chat.Session{Epoch: 5, Counter: 2, LastInputAt: 999, LastPlaceAt: 1000, LastInputID: "before"}, false},
		"nothing":                                {chat.Session{}, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, c.session.Supersedes(message)) })
	}
	event := *message
	event.Event = chat.EventUserMessage
	later := chat.Session{Epoch: 5, Counter: 4, LastInputAt: 1001, LastInputID: "next"}
	require.False(t, later.Supersedes(&event))
}

func TestEraseOfASession(t *testing.T) {
	said := &chat.Session{
		ChannelID: "shop", ConversationID: "anna", Epoch: 7, Counter: 3, LastInputSeq: 5, LastInputAt: 50, LastInputID: "msg_1", LastPlaceAt: 51,
		LastOutput: []chat.BotMessage{{ID: "msg_2"}}, BotID: "pizza", Dialog: []byte(`"d"`), Variables: []byte(`{"a":1}`), User: []byte(`{"b":2}`), Locale: "nl", Paused: true,
	}
	left := chat.Session{Epoch: 7, Counter: 3, LastInputSeq: 5, LastInputAt: 50, LastInputID: "msg_1", LastPlaceAt: 51}
	require.False(t, said.Erased())
	require.Equal(t, left, *said.Erase(chat.Ordinal{}))
	require.Equal(t, left, *said.Erase(chat.Ordinal{Counter: 4, InputAt: 49}))
	require.True(t, said.Erase(chat.Ordinal{}).Erased())
	require.Equal(t, left, *said.Erase(chat.Ordinal{}).Erase(chat.Ordinal{Counter: 5, InputAt: 50}), "again")
	left.LastInputSeq, left.LastInputAt = 9, 90
	require.Equal(t, left, *said.Erase(chat.Ordinal{Counter: 9, InputAt: 90}))
	require.Equal(t, chat.Session{LastInputSeq: 9, LastInputAt: 90}, *(*chat.Session)(nil).Erase(chat.Ordinal{Counter: 9, InputAt: 90}))
}
