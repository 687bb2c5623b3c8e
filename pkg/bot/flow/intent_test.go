package flow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const intents = `
intro: a
not_understood: a
locales: [en, nl]
threshold: 0.5
intents:
  open:
    examples: {en: [when are you open, what are your opening hours], nl: [wanneer zijn jullie open]}
    goto: a
  order:
    keywords: {en: [order now, café], nl: [bestel]}
    examples: {en: [I would like to order a pizza], nl: [ik wil graag een pizza]}
    goto: a
  postcode:
    patterns: ['^(?P<digits>\d{4}) ?(?P<letters>[a-z]{2})$']
    goto: a
  strict:
    examples: [tell me about the weather]
    threshold: 0.9
    goto: a
dialogs:
  a: [A]
`

func TestRecognise(t *testing.T) {
	def, err := Parse("bot.yaml", []byte(intents))
	require.NoError(t, err)
	for _, tc := range []struct {
		locale, text, intent string
		low, high            float64
	}{
		{"en", "When are you open?", "open", 1, 1},
		{"en", "OPEN you are when", "open", 1, 1},
		{"en", "when are you open today", "open", 0.7, 0.99},
		{"en", "i'd like a pizza", "order", 0.5, 0.9},
		{"en", "order now!", "order", 1, 1},
		{"en", "please order that now", "", 0, 0},
		{"en", "is there a cafe near the old church in town", "order", 0.5, 0.6},
		{"en", "CAFÉ", "order", 1, 1},
		{"en", "cafés", "", 0, 0},
		{"en", "wanneer zijn jullie open", "", 0, 0},
		{"nl", "wanneer zijn jullie open", "open", 1, 1},
		{"nl-BE", "wanneer zijn jullie open", "open", 1, 1},
		{"nl", "bestel", "order", 1, 1},
		{"fr", "when are you open", "open", 1, 1},
		{"nl", "tell me about the weather", "strict", 1, 1},
		{"en", "about the weather", "", 0, 0},
		{"en", "1234 AB", "postcode", 1, 1},
		{"en", "", "", 0, 0},
		{"en", "?!", "", 0, 0},
	} {
		t.Run(tc.locale+" "+tc.text, func(t *testing.T) {
			got := def.recognise(tc.text, def.chain(tc.locale), func(*intent) bool { return true })
			if tc.intent == "" {
				require.Nil(t, got.intent)
				return
			}
			require.NotNil(t, got.intent)
			require.Equal(t, tc.intent, got.intent.name)
			require.GreaterOrEqual(t, got.score, tc.low)
			require.LessOrEqual(t, got.score, tc.high)
		})
	}
	got := def.recognise("1234ab", def.chain(""), func(*intent) bool { return true })
	require.Equal(t, map[string]string{"digits": "1234", "letters": "ab"}, got.set)
}

func TestTokens(t *testing.T) {
	for s, want := range map[string][]string{
		"Één Pizza's!": {"een", "pizza", "s"},
		"STRAẞE Ⅻ ﬁne": {"strasse", "xii", "fine"},
		" \t\n":        {},
		"日本 1-2":       {"日本", "1", "2"},
	} {
		require.Equal(t, want, tokens(s), s)
	}
}

func FuzzScores(f *testing.F) {
	f.Add("when are you open", "I want a pizza", "open a pizza")
	f.Fuzz(func(t *testing.T, a, b, text string) {
		x := newIndex([][]string{{a}, {b}})
		scores := x.scores(tokens(text), 2)
		require.Equal(t, scores, x.scores(tokens(text), 2))
		for _, s := range scores {
			require.GreaterOrEqual(t, s, 0.0)
			require.LessOrEqual(t, s, 1.0)
		}
		if words := tokens(a); len(words) > 0 && len(words) <= maxWords {
			require.InDelta(t, 1, x.scores(words, 2)[0], 1e-9, "a sentence is like itself")
		}
	})
}
