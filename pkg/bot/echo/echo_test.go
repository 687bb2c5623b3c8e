package echo_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/echo"
	"github.com/parleyhq/parley/pkg/chat"
)

func TestEcho(t *testing.T) {
	for _, tc := range []struct {
		kind       chat.InputKind
		body, want string
	}{
		{chat.InputText, `{"text":"hi"}`, "hi"},
		{chat.InputPostback, `{"title":"Yes"}`, "You chose: Yes"},
		{chat.InputIntro, `{}`, "Hello! I say back what you tell me."},
		{chat.InputFile, `{"urls":["https://a.b/c","https://a.b/d"]}`, "You sent: https://a.b/c https://a.b/d"},
		{chat.InputLocation, `{"lat":1.5,"long":-2}`, "You are at 1.5, -2"},
	} {
		turn := &bot.Turn{Input: chat.Input{Kind: tc.kind, Body: []byte(tc.body)}, Session: bot.Session{Variables: map[string]any{"a": 1}}}
		answer, err := echo.New().Respond(t.Context(), turn)
		require.NoError(t, err)
		require.Equal(t, []bot.Output{{Message: chat.Message{Text: tc.want}}}, answer.Outputs)
		require.Equal(t, turn.Session, answer.Session)
	}
}

func TestEchoAnswersActionsWithNothing(t *testing.T) {
	answer, err := echo.New().Respond(t.Context(), &bot.Turn{Input: chat.Input{Kind: chat.InputActions, Body: []byte(`{}`)}})
	require.NoError(t, err)
	require.Empty(t, answer.Outputs)
}

func TestEchoKeepsToTheLimit(t *testing.T) {
	long := `{"title":"` + strings.Repeat("é", chat.MaxText) + `"}`
	answer, err := echo.New().Respond(t.Context(), &bot.Turn{Input: chat.Input{Kind: chat.InputPostback, Body: []byte(long)}})
	require.NoError(t, err)
	var p chat.Problems
	answer.Outputs[0].Message.Validate("", &p)
	require.NoError(t, p.Err())
}

func TestEchoRefusesWhatItCannotRead(t *testing.T) {
	for _, in := range []chat.Input{{Kind: "x"}, {Kind: chat.InputText, Body: []byte(`{`)}} {
		_, err := echo.New().Respond(t.Context(), &bot.Turn{Input: in})
		var refused *bot.RefusedError
		require.ErrorAs(t, err, &refused)
	}
}
