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
