package flow_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/bot/flow"
)

// head is a file that is right; tests append to its dialogs, from line 7 on.
const head = `locale: en
intro: welcome
not_understood: welcome
dialogs:
  welcome:
    - Hello
`

func TestParseSaysWhatToChange(t *testing.T) {
	for _, tc := range []struct {
		name, source string
		line, column int
		detail       string
	}{
		{"empty", "", 1, 1, "empty"},
		{"comment only", "# nothing\n", 1, 1, "empty"},
		{"not YAML", "a: [1\nb: 2", 2, 0, "the YAML is wrong"},
		{"tab", "a:\n\tb: 1", 2, 0, "the YAML is wrong"},
		{"no mapping", "- a", 1, 1, "the file must be a mapping"},
		{"unknown key", head + "dialog: {}\n", 7, 1, `"dialog" is unknown in the file: use bot, locale`},
		{"twice", head + "intro: welcome\n", 7, 1, `"intro" stands here twice (first in line 2)`},
		{"no intro", "not_understood: a\ndialogs:\n  a: [hi]\n", 1, 1, "intro is missing"},
		{"no dialogs", "intro: a\n", 1, 1, "dialogs is missing"},
		{"alias", head + "  a: &a [hi]\n  b: *a\n", 8, 6, "aliases (*a) are not supported"},
		{"too large", "#" + strings.Repeat("a", flow.MaxFile), 1, 1, "make it at most"},
		{"too many values", "a: [" + strings.Repeat("1,", 60_000) + "]", 1, 0, "more than 50000 values"},
		{"locale", "locale: english please\n" + strings.TrimPrefix(head, "locale: en\n"), 1, 9, "no language tag"},
		{"locales", head + "locales: en\n", 7, 10, "locales must be a list"},
		{"threshold", head + "threshold: 2\n", 7, 12, "above 0 and at most 1"},
		{"threshold type", head + "threshold: high\n", 7, 12, "threshold must be a number"},
		{"unknown intro", strings.Replace(head, "intro: welcome", "intro: welcom", 1), 2, 8, `there is no dialog "welcom": did you mean welcome?`},
		{"unknown goto", head + "    - goto: nowhere\n", 7, 13, `there is no dialog "nowhere": write one`},
		{"not_understood", strings.Replace(head, "not_understood: welcome", "not_understood: {after: 2}", 1), 3, 17, "not_understood has no dialog"},
		{"not_understood after", strings.Replace(head, "not_understood: welcome", "not_understood: {dialog: welcome, after: 0, then: welcome}", 1), 3, 42, "after must be a whole number from 1 to 100"},
		{"not_understood then", strings.Replace(head, "not_understood: welcome", "not_understood: {dialog: welcome, after: 2}", 1), 3, 17, "after without then"},
		{"on", head + "on: {video: welcome}\n", 7, 6, `"video" is unknown in on`},
		{"entries", head + "entries: welcome\n", 7, 10, "entries must be a list"},
		{"variable name", head + "variables: {a-b: 1}\n", 7, 13, `"a-b" is no name for a variable`},
		{"variable reserved", head + "variables: {user: 1}\n", 7, 13, "the variable user has a meaning of its own"},
		{"variable expression", head + `variables: {a: "{{ 1 }}"}` + "\n", 7, 16, "can't begin with an expression"},
		{"variable infinite", head + "variables: {a: .inf}\n", 7, 16, "the value can't be used"},

		{"dialog no list", head + "  a: hello\n", 7, 6, "the dialog a must be a list"},
		{"dialog empty", head + "  a: []\n", 7, 6, "the dialog a has no steps"},
		{"dialog nothing", head + "  a:\n", 7, 0, "the dialog a must be a list"},
		{"step list", head + "    - [a]\n", 7, 7, "a step must be a text or a mapping"},
		{"step empty", head + "    - {}\n", 7, 7, "the step does nothing"},
		{"step unknown", head + "    - txt: a\n", 7, 7, `"txt" is unknown in a step`},
		{"step null", head + "    - text:\n", 7, 0, "text must be a text, not nothing"},
		{"offload", head + "    - offload: sales\n", 7, 16, "offload must be a mapping"},
		{"offload with", head + "    - offload: {}\n      text: a\n", 8, 7, `"text" is unknown in a step with offload`},
		{"two actions", head + "    - goto: welcome\n      set: {a: 1}\n", 8, 7, "set can't stand beside goto"},
		{"action with message", head + "    - goto: welcome\n      text: a\n", 8, 7, `"text" is unknown in a step with goto`},
		{"two messages", head + "    - text: a\n      image: http://a.b\n", 8, 14, "image can't stand beside text"},
		{"quick replies", head + "    - image: http://a.b\n      quick_replies: [a]\n", 8, 22, "quick_replies can only stand beside text"},
		{"quick replies and buttons", head + "    - text: a\n      quick_replies: [a]\n      buttons: [{title: a, url: http://a.b}]\n", 8, 22, "can't stand beside buttons"},
		{"buttons", head + "    - image: http://a.b\n      buttons: []\n", 8, 16, "buttons can only stand beside text or list"},
		{"quick reply title", head + "    - text: a\n      quick_replies: [{goto: welcome}]\n", 8, 23, "has no title"},
		{"quick reply type", head + "    - text: a\n      quick_replies: [{type: x}]\n", 8, 30, `"x" is no type of quick reply`},
		{"button without", head + "    - text: a\n      buttons: [{title: a}]\n", 8, 17, "exactly one of goto (or set), url, phone, share: it has 0"},
		{"button with two", head + "    - text: a\n      buttons: [{title: a, url: http://a.b, phone: '1'}]\n", 8, 17, "it has 2"},
		{"button title", head + "    - text: a\n      buttons: [{url: http://a.b}]\n", 8, 17, "the button has no title"},
		{"button key", head + "    - text: a\n      buttons: [{title: a, href: http://a.b}]\n", 8, 28, `"href" is unknown in a button`},
		{"card title", head + "    - carousel: [{subtitle: a}]\n", 7, 18, "the card has no title"},
		{"empty carousel", head + "    - carousel: []\n", 7, 17, "carousel is empty"},
		{"bad image", head + "    - image: a.png\n", 7, 7, "absolute URL"},
		{"bad phone", head + "    - text: a\n      buttons: [{title: a, phone: call}]\n", 7, 7, "must be the phone number"},
		{"long text", head + "    - text: " + strings.Repeat("a", 10_001) + "\n", 7, 7, "at most 10000 characters"},
		{"no default language", head + "    - text: {nl: hallo}\n", 7, 13, "text has no text in the default language: add en"},
		{"language tag", head + "    - text: {en: hello, dutch_: hallo}\n", 7, 25, "no language tag"},

		{"template open", head + "    - \"{{ a\"\n", 7, 7, "{{ is not closed"},
		{"template empty", head + "    - \"a {{ }}\"\n", 7, 7, "the expression is empty"},
		{"bad expression", head + "    - \"{{ 1 + }}\"\n", 7, 7, `the expression "1 +" is wrong`},
		{"unknown function", head + "    - \"{{ frobnicate(1) }}\"\n", 7, 7, "there is no function frobnicate"},
		{"clock", head + "    - \"{{ now() }}\"\n", 7, 7, "the function now is not available"},
		{"reduce", head + "    - \"{{ reduce([1], # + #acc) }}\"\n", 7, 7, "not available"},
		{"let", head + "    - \"{{ let a = 1; a }}\"\n", 7, 7, "let is not available"},
		{"nested loop", head + "    - \"{{ map([1], map([1], #)) }}\"\n", 7, 7, "a loop can't stand in a loop"},
		{"join in a loop", head + "    - \"{{ map([1], join([#])) }}\"\n", 7, 7, "join can't stand in a loop"},
		{"three loops", head + "    - \"{{ [1] | map(#) | map(#) | map(#) }}\"\n", 7, 7, "at most 2 of map"},
		{"method", head + "    - \"{{ a.b() }}\"\n", 7, 7, "only functions can be called"},
		{"long expression", head + "    - \"{{ 1 " + strings.Repeat("+1", 1000) + " }}\"\n", 7, 7, "make it at most 2000"},
		{"many nodes", head + "    - \"{{ 1 " + strings.Repeat("+1", 400) + " }}\"\n", 7, 7, "maximum allowed nodes"},

		{"if without then", head + "    - if: 1 == 1\n", 7, 7, "if has no then"},
		{"if wrong", head + "    - if: a ==\n      then: welcome\n", 7, 11, "the expression"},
		{"if in then", head + "    - if: a\n      then:\n        - goto: x\n", 9, 17, `there is no dialog "x"`},
		{"else unknown", head + "    - if: a\n      then: welcome\n      else: x\n", 9, 13, `there is no dialog "x"`},
		{"if deep", head + "    - if: a\n      then: " + strings.Repeat("[{if: a, then: ", 25) + "welcome" + strings.Repeat("}]", 25) + "\n", 8, 0, "nested deeper than 20"},
		{"set reserved", head + "    - set: {input: 1}\n", 7, 13, "input has a meaning of its own"},
		{"locale step", head + "    - locale: '1'\n", 7, 15, "no language tag"},

		{"ask type", head + "    - {ask: numbr, into: a}\n", 7, 13, `"numbr" is no type of answer: use text, number`},
		{"ask into", head + "    - {ask: number}\n", 7, 7, "ask has no into"},
		{"ask key", head + "    - {ask: number, into: a, minimum: 1}\n", 7, 30, `"minimum" is unknown in a step with ask`},
		{"ask tries", head + "    - {ask: number, into: a, tries: -1}\n", 7, 37, "tries must be a whole number from 0 to 20"},
		{"ask fallback", head + "    - {ask: number, into: a, fallback: x}\n", 7, 40, `there is no dialog "x"`},
		{"ask min", head + "    - {ask: email, into: a, min: 1}\n", 7, 34, "min only goes with"},
		{"ask min date", head + "    - {ask: date, into: a, min: soon}\n", 7, 33, "must be a date"},
		{"ask min max", head + "    - {ask: number, into: a, min: 2, max: 1}\n", 7, 35, "min is above max"},
		{"ask pattern missing", head + "    - {ask: pattern, into: a}\n", 7, 7, "has no pattern"},
		{"ask pattern with number", head + "    - {ask: number, into: a, pattern: a}\n", 7, 39, "pattern only goes with"},
		{"ask pattern wrong", head + "    - {ask: pattern, into: a, pattern: '('}\n", 7, 40, "the pattern is wrong: missing closing )"},
		{"ask choices missing", head + "    - {ask: choice, into: a}\n", 7, 7, "has no choices"},
		{"ask choices empty", head + "    - {ask: choice, into: a, choices: []}\n", 7, 39, "choices is empty"},
		{"ask choices with number", head + "    - {ask: number, into: a, choices: [a]}\n", 7, 39, "choices only goes with"},
		{"choice title", head + "    - {ask: choice, into: a, choices: [{value: 1}]}\n", 7, 40, "the choice has no title"},
		{"choice expression", head + "    - {ask: choice, into: a, choices: ['{{ b }}']}\n", 7, 40, "can't have expressions"},
		{"choice value", head + "    - {ask: choice, into: a, choices: [{title: a, value: [1]}]}\n", 7, 58, "plain value"},
		{"ask check", head + "    - {ask: text, into: a, check: 'value >'}\n", 7, 35, "check: the expression"},
		{"ask error", head + "    - {ask: text, into: a, error: {nl: fout}}\n", 7, 35, "default language"},

		{"intent unknown key", head + "intents:\n  a: {keyword: a, goto: welcome}\n", 8, 7, `"keyword" is unknown in an intent`},
		{"intent empty", head + "intents:\n  a: {goto: welcome}\n", 8, 3, "can't be recognised"},
		{"intent goto", head + "intents:\n  a: {keywords: [a]}\n", 8, 3, "leads nowhere"},
		{"intent dialog", head + "intents:\n  a: {keywords: [a], goto: x}\n", 8, 28, `there is no dialog "x"`},
		{"intent pattern", head + "intents:\n  a: {patterns: ['[z-a]'], goto: welcome}\n", 8, 18, "invalid character class range"},
		{"intent long pattern", head + "intents:\n  a: {patterns: ['" + strings.Repeat("a", 1001) + "'], goto: welcome}\n", 8, 18, "make it at most 1000"},
		{"intent group", head + "intents:\n  a: {patterns: ['(?P<user>a)'], goto: welcome}\n", 8, 18, "the group user has a meaning"},
		{"intent keyword", head + "intents:\n  a: {keywords: ['?'], goto: welcome}\n", 8, 18, "no letter or digit"},
		{"intent anytime", head + "intents:\n  a: {keywords: [a], anytime: sometimes, goto: welcome}\n", 8, 31, "anytime must be true or false"},
		{"intent list", head + "intents: [a]\n", 7, 10, "intents must be a mapping"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := flow.Parse("bot.yaml", []byte(tc.source))
			var wrong *flow.ParseError
			require.ErrorAs(t, err, &wrong)
			for _, p := range wrong.Problems {
				if p.Line == tc.line && (tc.column == 0 || p.Column == tc.column) && strings.Contains(p.Detail, tc.detail) {
					return
				}
			}
			require.Failf(t, "no such problem", "want %d:%d: %s, have\n%v", tc.line, tc.column, tc.detail, err)
		})
	}
}

func TestParseReportsAllErrorsInOrder(t *testing.T) {
	_, err := flow.Parse("bot.yaml", []byte(head+"    - goto: x\n    - image: {fr: a}\n    - {ask: n, into: user}\n"))
	require.EqualError(t, err, strings.Join([]string{
		`bot.yaml:7:13: there is no dialog "x": write one, or correct the name`,
		`bot.yaml:8:14: image has no text in the default language: add en`,
		`bot.yaml:9:13: "n" is no type of answer: use text, number, integer, email, phone, date, choice, pattern, file, location`,
		`bot.yaml:9:22: the variable user has a meaning of its own: choose another name`,
	}, "\n"))
}

func TestParseStopsAtManyErrors(t *testing.T) {
	_, err := flow.Parse("bot.yaml", []byte(head+strings.Repeat("    - goto: x\n", 500)))
	var wrong *flow.ParseError
	require.ErrorAs(t, err, &wrong)
	require.Len(t, wrong.Problems, 100)
}

func TestParseWarnings(t *testing.T) {
	for _, tc := range []struct{ name, source, warning string }{
		{"unreachable", head + "  a:\n    - b\n", "7:3: nothing leads to the dialog a"},
		{"unreachable island", head + "  a:\n    - goto: b\n  b:\n    - goto: a\n", "9:3: nothing leads to the dialog b"},
		{"no not_understood", strings.Replace(head, "not_understood: welcome\n", "", 1), "1:1: not_understood is missing"},
		{"title", head + "    - text: a\n      quick_replies: [more than twenty characters]\n", "7:7: in en: quick reply 1's title has 27 characters: Messenger takes 20"},
		{"list", head + "    - list: [{title: a}]\n", "7:7: in en: the list has 1 items"},
		{"language", head + "    - text: {en: hello}\nlocales: [nl]\n", "7:13: text has no text in nl"},
		{"one language too long", head + "    - text: a\n      quick_replies: [{title: {en: a, nl: " + strings.Repeat("a", 21) + "}}]\nlocales: [nl]\n", "7:7: in nl: quick reply 1's title has 21"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			def, err := flow.Parse("bot.yaml", []byte(tc.source))
			require.NoError(t, err)
			require.Contains(t, fmt.Sprint(def.Warnings()), tc.warning)
		})
	}
	def, err := flow.Parse("bot.yaml", []byte(head+"  a: [b]\nentries: [a]\n"))
	require.NoError(t, err)
	require.Empty(t, def.Warnings(), "an entry is reached from outside")
	require.Equal(t, "bot.yaml", def.Name())
	require.Equal(t, []string{"a", "welcome"}, def.Dialogs())
}

func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile(pizza)
	require.NoError(f, err)
	f.Add(sample)
	f.Add([]byte(head))
	f.Add([]byte(head + "    - {ask: choice, into: a, choices: [a, {title: {en: b}, value: 1}], check: 'value == 1'}\n"))
	f.Add([]byte(head + "    - if: a\n      then: [{set: {a: '{{ a + 1 }}'}}, {goto: welcome}]\n      else: welcome\n"))
	f.Add([]byte("a: [1\n"))
	f.Add([]byte("? {a: b}\n: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		def, err := flow.Parse("bot.yaml", source)
		if err != nil {
			var wrong *flow.ParseError
			require.True(t, errors.As(err, &wrong))
			require.NotEmpty(t, wrong.Problems)
			for _, p := range wrong.Problems {
				require.Positive(t, p.Line)
				require.NotEmpty(t, p.Detail)
			}
			return
		}
		// Whatever was accepted can be played, within bounds.
		c := &conversation{t: t, bot: flow.New(def)}
		for range 2 {
			require.LessOrEqual(t, len(c.intro()), flow.MaxOutputs)
			require.LessOrEqual(t, len(c.say("hello 1")), flow.MaxOutputs)
		}
	})
}
