package flow_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/bot/flow"
	"github.com/parleyhq/parley/pkg/chat"
)

func TestEveryMessageType(t *testing.T) {
	c := play(t, `
intro: all
not_understood: all
variables: {n: 2}
dialogs:
  all:
    - "Plain {{ n }}"
    - text: Replies
      quick_replies:
        - Just this
        - {title: Go, goto: all, set: {n: "{{ n + 1 }}", who: "x{{ n }}", list: [1, "{{ n }}"], o: {a: true}}, image: "https://a.b/{{ n }}"}
        - {type: location}
        - {type: phone}
        - {type: email}
    - image: https://a.b/i
    - video: https://a.b/v
    - audio: https://a.b/a
    - file: https://a.b/f
    - text: Buttons
      buttons:
        - {title: Post, set: {n: 9}}
        - {title: Web, url: "https://a.b/?q={{ user.q }}"}
        - {title: Phone, phone: "+31 20 1"}
        - {share: true}
        - {title: Hidden, goto: all, when: n == 7}
    - carousel:
        - {title: Card, subtitle: Sub, image: https://a.b/i, url: https://a.b/u, open: https://a.b/o, buttons: [{title: B, goto: all}]}
        - {title: Hidden, when: n == 7}
    - list:
        - {title: One}
        - {title: Two}
      buttons:
        - {title: More, goto: all}
`)
	c.session.User = map[string]any{"q": "a b&c=d/é"}
	c.intro()
	require.Empty(t, c.warnings[1:], "only the four buttons are warned of: %v", c.warnings)
	var messages []chat.Message
	for _, out := range c.last.Outputs {
		messages = append(messages, out.Message)
	}
	got, err := json.MarshalIndent(messages, "", "  ")
	require.NoError(t, err)
	want, err := os.ReadFile("testdata/messages.golden.json")
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

const asking = `
intro: q
not_understood: huh
on: {file: gotFile}
dialogs:
  huh: [Huh?]
  gotFile: ["File {{ input.urls[0] }}"]
  lost: [Lost]
  q:
    - ask: %KIND%
      into: a
      text: Question?
      error: Wrong
      tries: 2
      fallback: lost
    - "Got {{ a }}"
`

func TestAskTypes(t *testing.T) {
	for _, tc := range []struct {
		kind  string
		right map[string]string // what is said, and the variable as text
		wrong []string
	}{
		{"text", map[string]string{" hi ": "hi"}, []string{"  "}},
		{"text\n      min: 2\n      max: 3", map[string]string{"éé": "éé", "abc": "abc"}, []string{"a", "abcd"}},
		{"number", map[string]string{"1": "1", "-1.50": "-1.5", "2,25": "2.25", "+3": "3"}, []string{"one", "1.2.3", "1e5", "0x10", "NaN", "", "1,000.5", "1234567890123456"}},
		{"number\n      min: 1\n      max: 2.5", map[string]string{"1": "1", "2.5": "2.5"}, []string{"0.9", "2.6"}},
		{"integer", map[string]string{"12": "12", "-3": "-3"}, []string{"1.0", "1,5", "x"}},
		{"email", map[string]string{"a@b.nl": "a@b.nl", "a.b+c@d-e.example.com": "a.b+c@d-e.example.com"}, []string{"a", "a@b", "a@b.c", "A <a@b.nl>", "a b@c.nl", "@b.nl"}},
		{"phone", map[string]string{"+31 20 123 4567": "+31 20 123 4567", "020-1234567": "020-1234567"}, []string{"12345", "call me", "1234567890123456"}},
		{"date", map[string]string{"2024-02-29": "2024-02-29", "1-2-2024": "2024-02-01", "31/12/2024": "2024-12-31", "1.2.2024": "2024-02-01"}, []string{"2023-02-29", "tomorrow", "13/13/2024"}},
		{"date\n      min: 2024-01-01\n      max: 31-12-2024", map[string]string{"2024-01-01": "2024-01-01"}, []string{"2023-12-31", "1-1-2025"}},
		{"pattern\n      pattern: '^\\d{4} ?[a-z]{2}$'", map[string]string{"1234 AB": "1234 AB"}, []string{"123 AB"}},
		{"choice\n      choices: [Red, {title: Blue, value: 2, also: [azure]}]", map[string]string{"red!": "Red", "BLUE": "2", "Azure": "2", "2": "2"}, []string{"green", "?", ""}},
		{"number\n      check: value % 2 == 0", map[string]string{}, nil},
		{"integer\n      check: int(value) % 2 == 0", map[string]string{"4": "4"}, []string{"3"}},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			for said, want := range tc.right {
				c := play(t, strings.Replace(asking, "%KIND%", tc.kind, 1))
				c.intro()
				require.Equal(t, []string{"Got " + want}, c.say(said), "%q", said)
			}
			for _, said := range tc.wrong {
				c := play(t, strings.Replace(asking, "%KIND%", tc.kind, 1))
				c.intro()
				got := c.say(said)
				require.Len(t, got, 1)
				require.True(t, strings.HasPrefix(got[0], "Wrong"), "%q: %v", said, got)
			}
		})
	}
}

func TestAskAgainThenFallback(t *testing.T) {
	c := play(t, strings.Replace(asking, "%KIND%", "number", 1))
	require.Equal(t, []string{"Question?"}, c.intro())
	require.Equal(t, []string{"Wrong"}, c.say("a"))
	require.Equal(t, []string{"Wrong"}, c.say("b"))
	require.Equal(t, []string{"Lost"}, c.say("c"))
	require.Equal(t, []string{"Huh?"}, c.say("1"), "nothing waits any more")
}

func TestAskWithoutErrorOrFallback(t *testing.T) {
	c := play(t, "intro: q\nnot_understood: huh\ndialogs:\n  huh: [Huh?]\n  q:\n    - {ask: number, into: a, text: Question?, tries: 1}\n")
	c.intro()
	require.Equal(t, []string{"Question?"}, c.say("a"))
	require.Equal(t, []string{"Huh?"}, c.say("b"))
}

func TestAskFileAndLocation(t *testing.T) {
	file, place := chat.FileInput{URLs: []string{"https://a.b/c"}}, chat.LocationInput{Lat: 1.5, Long: 2}
	c := play(t, strings.Replace(asking, "%KIND%", "file", 1))
	c.intro()
	require.Equal(t, []string{"Wrong"}, c.say("here"))
	require.Equal(t, []string{"Got https://a.b/c"}, show(c.turn(chat.InputFile, file)))
	require.Equal(t, []string{"File https://a.b/c"}, show(c.turn(chat.InputFile, file)), "nothing waits: on file")
	require.Equal(t, []string{"Huh?"}, show(c.turn(chat.InputLocation, place)), "no on location")

	c = play(t, strings.Replace(asking, "%KIND%", "location", 1))
	c.intro()
	require.Equal(t, []string{"File https://a.b/c"}, show(c.turn(chat.InputFile, file)), "on file goes before")
	c.intro()
	require.Equal(t, []string{`Got {"lat":1.5,"long":2}`}, show(c.turn(chat.InputLocation, place)))

	c = play(t, strings.Replace(asking, "%KIND%", "number", 1))
	c.intro()
	require.Equal(t, []string{"Wrong"}, show(c.turn(chat.InputLocation, place)))
}

func TestPostbacks(t *testing.T) {
	source := `
intro: q
not_understood: huh
intents: {yes: {keywords: [yes], goto: yes}}
dialogs:
  huh: [Huh?]
  yes: ["Yes {{ a }}"]
  q:
    - {ask: choice, into: a, text: Q, choices: [{title: One, value: 1}, {title: Two, value: 2}]}
    - "Got {{ a }} {{ b }}"
`
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, tc := range []struct {
		name string
		in   chat.PostbackInput
		want string
	}{
		{"payload sets the awaited variable", chat.PostbackInput{Title: "x", Payload: `{"params":[{"key":"a","value":2},{"key":"b","value":"!"}]}`}, "Got 2 !"},
		{"fields set the awaited variable", chat.PostbackInput{Title: "x", SessionDataToSet: []chat.KeyValue{{Key: "a", Value: raw(`1`)}}}, "Got 1"},
		{"a value that is no choice", chat.PostbackInput{Title: "One", SessionDataToSet: []chat.KeyValue{{Key: "a", Value: raw(`7`)}}}, "Q [One] [Two]"},
		{"the title answers", chat.PostbackInput{Title: "two", Payload: "DEVELOPER_DEFINED"}, "Got 2"},
		{"a dialog by payload", chat.PostbackInput{Title: "x", Payload: `{"nextDialogstateId":"yes","params":[{"key":"a","value":5}]}`}, "Yes 5"},
		{"a dialog by field", chat.PostbackInput{Title: "x", NextDialogstateID: "yes"}, "Yes"},
		{"the field goes before the payload", chat.PostbackInput{Title: "x", NextDialogstateID: "yes", Payload: `{"nextDialogstateId":"q"}`}, "Yes"},
		{"an old dialog", chat.PostbackInput{Title: "x", NextDialogstateID: "gone"}, "Huh?"},
		{"reserved names are left alone", chat.PostbackInput{Title: "x", NextDialogstateID: "yes", SessionDataToSet: []chat.KeyValue{{Key: "user", Value: raw(`1`)}}}, "Yes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := play(t, source)
			c.intro()
			require.Equal(t, []string{tc.want}, show(c.turn(chat.InputPostback, tc.in)))
		})
	}
	c := play(t, source)
	require.Equal(t, []string{"Yes"}, show(c.turn(chat.InputPostback, chat.PostbackInput{Title: "yes"})), "a title may name an intent")
	require.Equal(t, "yes", c.last.Outputs[0].NLP.Intent.Name)
}

func TestActions(t *testing.T) {
	c := play(t, "intro: a\nnot_understood: b\ndialogs:\n  a: [A]\n  b: [B]\n")
	require.Equal(t, []string{"A"}, show(c.turn(chat.InputActions, chat.Actions{NextDialogstate: "a"})))
	require.Equal(t, []string{"B"}, show(c.turn(chat.InputActions, chat.Actions{NextDialogstate: "z"})))
	require.Empty(t, show(c.turn(chat.InputActions, chat.Actions{PauseBot: true})))
}

func TestOffload(t *testing.T) {
	c := play(t, `
intro: human
not_understood: nothing
variables: {amount: 2}
dialogs:
  human:
    - A colleague will help you.
    - offload: {queue: sales, order: {size: "{{ amount }}", note: "{{ amount }} pieces"}, user: "{{ user.firstName }}", huge: "{{ variable }}"}
    - One moment.
    - offload: {queue: again}
  nothing:
    - offload: {}
`)
	c.session.User = map[string]any{"firstName": "Ann"}
	c.session.Variables = map[string]any{"variable": strings.Repeat("x", flow.MaxValue+1)}
	c.intro()
	got := c.last.Outputs
	require.Len(t, got, 3)
	require.Equal(t, []string{"", chat.EventOffload, ""}, []string{got[0].Event, got[1].Event, got[2].Event})
	require.JSONEq(t, `{"queue":"sales","order":{"size":2,"note":"2 pieces"},"user":"Ann"}`, string(got[1].Details))
	require.Nil(t, got[1].NLP)
	require.Equal(t, "One moment.", got[2].Message.Text)
	require.Len(t, c.warnings, 2)
	require.Contains(t, c.warnings[0], `the offload's "huge" was left out`)
	require.Contains(t, c.warnings[1], "another offload of the turn was left out")

	c.say("hm")
	require.Equal(t, []bot.Output{{Event: chat.EventOffload}}, c.last.Outputs)
}

func TestNotUnderstoodCounts(t *testing.T) {
	c := play(t, `
intro: a
not_understood: {dialog: huh, after: 2, then: human}
intents: {yes: {keywords: [yes], goto: a}}
dialogs:
  a: [A]
  huh: [Huh?]
  human: [Human]
`)
	for _, want := range []string{"Huh?", "Human", "Huh?"} {
		require.Equal(t, []string{want}, c.say("x"))
	}
	require.Equal(t, []string{"A"}, c.say("yes"))
	require.Equal(t, []string{"Huh?"}, c.say("x"), "what is understood resets the count")
	require.Equal(t, []string{"Human"}, c.say("x"))

	c = play(t, "intro: a\ndialogs:\n  a: [A]\n")
	require.Empty(t, c.say("x"))
	require.NotEmpty(t, c.warnings, "silence is not silent")
}

func TestLoopsAndFloodsAreCut(t *testing.T) {
	c := play(t, "intro: a\nnot_understood: a\nvariables: {n: 0}\ndialogs:\n  a:\n    - set: {n: '{{ n + 1 }}'}\n    - goto: b\n  b: [goto: a]\n")
	require.Empty(t, c.intro())
	require.Contains(t, c.warnings[0], "the turn was cut after 200 steps")

	c = play(t, "intro: a\nnot_understood: a\ndialogs:\n  a:\n    - Hi\n    - goto: a\n")
	require.Len(t, c.intro(), flow.MaxOutputs)
	require.LessOrEqual(t, len(c.warnings), 50)

	c = play(t, "intro: a\nnot_understood: a\nvariables: {s: ab}\ndialogs:\n  a:\n    - set: {s: '{{ s + s }}'}\n    - goto: a\n")
	c.intro()
	require.Contains(t, c.warnings[0], "a variable holds at most 8192")
	require.LessOrEqual(t, len(c.session.Variables["s"].(string)), flow.MaxValue)
}

func TestExpressionsThatFailCountAsNothing(t *testing.T) {
	for _, source := range []string{
		"missing.field", "1 / s", "int('x')", "[1][5]", "1..20000", "map(1..9999, 1..9999)", "replace('aaa', '', 'b')",
		"fixed('a', 1)", "join(1)", "join(map(1..5000, 'aaaaaaaaaaaaaaaaaaaa'))", "'a' matches s",
	} {
		t.Run(source, func(t *testing.T) {
			c := play(t, "intro: a\nnot_understood: a\nvariables: {s: (}\ndialogs:\n  a:\n    - |-\n      [{{ "+source+" }}]\n    - if: |-\n        "+source+"\n      then: ['yes']\n      else: ['no']\n    - set:\n        w: |-\n          {{ "+source+" }}\n")
			require.Equal(t, []string{"[]", "no"}, c.intro())
			require.NotEmpty(t, c.warnings)
			require.Nil(t, c.session.Variables["w"])
		})
	}
}

func TestTemplates(t *testing.T) {
	for template, want := range map[string]string{
		"a {{ 1 + 1 }} b":                       "a 2 b",
		"{{ 0.1 + 0.2 }}":                       "0.3",
		"{{ 1e21 }}":                            "1e+21",
		"{{ -0.0 }}":                            "0",
		"{{ true }} {{ missing }}.":             "true .",
		"{{ [1, 'a', nil] }}":                   "1, a,",
		"{{ {'a': {'b': 1}}.a }}":               `{"b":1}`,
		"{{ {'a': {'b': 1}} }}":                 `{"a":{"b":1}}`,
		"{{ '}}' + \"{{\" }}":                   "}}{{",
		"{{ name }}":                            "Ann",
		"{{ evil }}":                            "ab",
		"{{ fixed(2, 2) }} {{ fixed(1.5, 0) }}": "2.00 2",
		"{{ join(['a', 1], '-') }}":             "a-1",
		"{{ replace('a.b', '.', ',') }}":        "a,b",
		"{{ locale }} {{ input.kind }}":         "en intro",
		"{{ len(filter(1..5, # > 2)) }}":        "3",
		"{ not } {one}":                         "{ not } {one}",
	} {
		c := play(t, "intro: a\nnot_understood: a\ndialogs:\n  a:\n    - |-\n      ."+template+"\n")
		c.session.Variables = map[string]any{"name": "Ann", "evil": "a\x00\u202eb\x1b"}
		require.Equal(t, []string{"." + want}, c.intro(), template)
	}
}

func TestAMessageThatComesOutInvalidIsLeftOut(t *testing.T) {
	c := play(t, "intro: a\nnot_understood: a\ndialogs:\n  a:\n    - '{{ missing }}'\n    - image: '{{ evil }}'\n    - image: 'https://a.b/{{ evil }}'\n    - '{{ long }}'\n")
	c.session.Variables = map[string]any{"evil": "javascript:alert(1)", "long": strings.Repeat("é", chat.MaxText+5)}
	got := c.intro()
	require.Len(t, got, 2)
	require.Equal(t, "image https://a.b/javascript%3Aalert%281%29", got[0])
	require.Equal(t, strings.Repeat("é", chat.MaxText), got[1])
	require.Len(t, c.warnings, 4, "two left out, one cut, one too long for Messenger: %v", c.warnings)
}

func TestConditions(t *testing.T) {
	source := `
intro: a
not_understood: a
dialogs:
  a:
    - if: n > 1
      then:
        - if: n > 2
          then: [many]
          else: [two]
      else:
        - few
    - if: user.vip
      then: [vip]
    - end
`
	for n, want := range map[int][]string{1: {"few", "end"}, 2: {"two", "end"}, 3: {"many", "end"}} {
		c := play(t, source)
		c.session.Variables["n"] = n
		require.Equal(t, want, c.intro())
	}
}

func TestLocales(t *testing.T) {
	source := `
locale: en
intro: a
not_understood: a
dialogs:
  a:
    - {text: {en: English, nl: Dutch, nl-BE: Flemish, zh-Hant: Chinese}}
`
	for locale, want := range map[string]string{
		"": "English", "en": "English", "en-GB": "English", "nl": "Dutch", "nl-NL": "Dutch", "NL-be": "Flemish", "nl_BE": "Flemish",
		"zh-Hant-TW": "Chinese", "zh": "English", "fr": "English", "?": "English",
	} {
		c := play(t, source)
		c.session.Locale = locale
		require.Equal(t, []string{want}, c.intro(), locale)
		require.Equal(t, locale, c.session.Locale, "only a locale step changes it")
	}
	c := play(t, source)
	c.session.User = map[string]any{"preferredLanguage": "nl-BE"}
	require.Equal(t, []string{"Flemish"}, c.intro())
}

func TestStateThatDoesNotFitBeginsAnew(t *testing.T) {
	for _, dialog := range []string{`{"dialog":"gone","into":"a"}`, `{"dialog":"q","step":99,"into":"a"}`, `{"dialog":"q","step":-1,"into":"a"}`, `{"dialog":"q","step":1,"into":"a"}`, `{"dialog":"q","step":0,"into":"other"}`, `[]`, `{`} {
		c := play(t, strings.Replace(asking, "%KIND%", "number", 1))
		c.session.Dialog = json.RawMessage(dialog)
		if !json.Valid(c.session.Dialog) {
			answer, err := c.bot.Respond(t.Context(), &bot.Turn{Input: chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"1"}`)}, Session: c.session})
			require.NoError(t, err)
			require.Equal(t, []string{"Huh?"}, show(answer))
			continue
		}
		require.Equal(t, []string{"Huh?"}, c.say("1"), dialog)
	}
}

func TestRespondRefusesWhatItCannotRead(t *testing.T) {
	c := play(t, head)
	for _, in := range []chat.Input{
		{Kind: "x"},
		{Kind: chat.InputText, Body: []byte(`{`)},
		{Kind: chat.InputPostback, Body: []byte(`{`)},
		{Kind: chat.InputFile, Body: []byte(`{`)},
		{Kind: chat.InputLocation, Body: []byte(`{`)},
		{Kind: chat.InputActions, Body: []byte(`{`)},
	} {
		_, err := c.bot.Respond(t.Context(), &bot.Turn{Input: in})
		var refused *bot.RefusedError
		require.ErrorAs(t, err, &refused)
	}
}

func TestATurnEndsWithItsContext(t *testing.T) {
	c := play(t, head)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.bot.Respond(ctx, &bot.Turn{Input: chat.Input{Kind: chat.InputIntro, Body: []byte(`{}`)}})
	require.ErrorIs(t, err, context.Canceled)
	var refused *bot.RefusedError
	require.NotErrorAs(t, err, &refused, "it is worth another try")
}

func TestConcurrentTurns(t *testing.T) {
	c := playFile(t, pizza)
	c.session.Locale = "nl"
	want := c.say("Ik wil een pizza")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				answer, err := c.bot.Respond(t.Context(), &bot.Turn{
					Input:   chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"Ik wil een pizza"}`)},
					Session: bot.Session{Locale: "nl", Variables: map[string]any{}},
				})
				if err != nil || len(show(answer)) != len(want) {
					t.Errorf("a concurrent turn differs: %v, %v", err, answer)
				}
			}
		})
	}
	all.Wait()
	require.NotEmpty(t, want)
}

func BenchmarkTurn(b *testing.B) {
	source, err := os.ReadFile(pizza)
	require.NoError(b, err)
	def, err := flow.Parse("pizza.yaml", source)
	require.NoError(b, err)
	f := flow.New(def)
	turn := &bot.Turn{
		Input:   chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"hello there, I would like to have a pizza"}`)},
		Session: bot.Session{Locale: "nl-BE", Variables: map[string]any{"pizza": "Funghi", "price": 11.0}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Respond(b.Context(), turn); err != nil {
			b.Fatal(err)
		}
	}
}
