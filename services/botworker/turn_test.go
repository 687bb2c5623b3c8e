package botworker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestWhatAMessageSets(t *testing.T) {
	r := newRig(t)
	set := func(sessionData, user, locale string) func(*chat.UserMessage) {
		return func(um *chat.UserMessage) {
			um.SessionData, um.User, um.Locale = []byte(sessionData), []byte(user), locale
		}
	}
	require.Equal(t, "done", r.handle(r.said("c1", "one", set(`{"a":1,"b":{"c":2}}`, `{"firstName":"Ada"}`, "nl"))))
	require.Equal(t, "done", r.handle(r.said("c1", "two", set(`{"b":"new","d":null}`, `{"lastName":"L"}`, ""))))
	state := r.bot.last().Session
	require.Equal(t, map[string]any{"a": 1.0, "b": "new", "d": nil}, state.Variables, "members are set, one by one")
	require.Equal(t, map[string]any{"firstName": "Ada", "lastName": "L"}, state.User)
	require.Equal(t, "nl", state.Locale, "kept while no other is given")
	require.Equal(t, "done", r.handle(r.said("c1", "three", set(``, ``, "en"))))
	require.Equal(t, "en", r.bot.last().Session.Locale)
	rec := r.session("c1")
	require.JSONEq(t, `{"a":1,"b":"new","d":null}`, string(rec.Variables))
	require.JSONEq(t, `{"firstName":"Ada","lastName":"L"}`, string(rec.User))
}

func TestActions(t *testing.T) {
	r := newRig(t)
	out := func() []string {
		_, got := r.faults.take(t)
		return texts(t, got)
	}
	require.Equal(t, "done", r.handle(r.ordered("c1", `{"sendMessages":[{"text":"a"},{"text":"b"}],"sessionData":{"vip":true}}`)))
	require.Equal(t, []string{"a", "b"}, out())
	require.Zero(t, r.bot.runs(), "messages from outside run no bot")
	require.EqualValues(t, 2, r.session("c1").Counter)

	require.Equal(t, "done", r.handle(r.ordered("c1", `{"sendMessages":[{"text":"moving on"}],"nextDialogstate":"end"}`)))
	require.Equal(t, []string{"moving on", "1: ", "2: "}, out(), "the bot speaks behind the messages from outside")
	require.Equal(t, chat.InputActions, r.bot.last().Input.Kind)
	require.Equal(t, map[string]any{"vip": true}, r.bot.last().Session.Variables)
	runs := r.bot.runs()

	require.Equal(t, "done", r.handle(r.ordered("c1", `{"pauseBot":true}`)))
	require.Empty(t, out())
	muted := r.said("c1", "is anybody there?", func(um *chat.UserMessage) { um.SessionData = []byte(`{"n":1}`) })
	require.Equal(t, "done", r.handle(muted))
	require.Empty(t, out())
	require.Equal(t, runs, r.bot.runs(), "the bot is paused")
	rec := r.session("c1")
	require.True(t, rec.Paused)
	require.Equal(t, r.task(muted).MessageID, rec.LastInputID, "the input is settled")
	require.JSONEq(t, `{"vip":true,"n":1}`, string(rec.Variables), "what it sets is set")
	require.Equal(t, chat.OutcomeProcessed, r.journal.turns[len(r.journal.turns)-1].Outcome)

	require.Equal(t, "done", r.handle(r.ordered("c1", `{"sendMessages":[{"text":"a person here"}]}`)))
	require.Equal(t, []string{"a person here"}, out(), "a paused conversation is written to from outside")
	require.Equal(t, "done", r.handle(r.ordered("c1", `{"nextDialogstate":"bye"}`)))
	require.Equal(t, runs+1, r.bot.runs(), "it goes where it is sent, paused or not")
	require.True(t, r.session("c1").Paused)
	out()

	require.Equal(t, "done", r.handle(r.ordered("c1", `{"resumeBot":true}`)))
	require.Empty(t, out())
	require.Equal(t, "done", r.handle(r.said("c1", "back")))
	require.Equal(t, []string{"1: back", "2: back"}, out())
	require.EqualValues(t, 10, r.session("c1").Counter, "one numbering for all of it")
}
