package flow

import (
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parleyhq/parley/pkg/chat"
)

// ask is a question: what it asks, which answers are right, and what happens
// with wrong ones.
type ask struct {
	message          *message // nil where a message before it asks
	kind             string
	into             string
	errorText        *text
	tries            int // how often it is asked again
	fallback         string
	min, max         *float64
	minDate, maxDate string
	pattern          *regexp.Regexp
	choices          []choice
	check            *expression
}

// choice is one of the answers to a question of type choice.
type choice struct {
	title   *text
	image   *text
	value   any
	accepts []string // normalized
}

// replies are the quick replies of the choices: each sets the variable.
func (a *ask) replies() []*reply {
	var list []*reply
	for _, c := range a.choices {
		list = append(list, &reply{
			contentType: chat.ReplyText, title: c.title, image: c.image,
			to: target{set: []assignment{{name: a.into, value: valueOf{literal: c.value}}}},
		})
	}
	return list
}

// again is the message after a wrong answer: the error's text with the
// question's quick replies, or the question where there is none.
func (a *ask) again() *message {
	if a.errorText == nil {
		return a.message
	}
	m := &message{text: a.errorText}
	switch {
	case a.message != nil:
		m.replies = a.message.replies
	case a.kind == "choice":
		m.replies = a.replies()
	}
	return m
}

// answer is what the user gave as an answer.
type answer struct {
	text     string
	value    any // where a button gave the variable's value itself
	hasValue bool
	urls     []string
	location *chat.LocationInput
}

// accept judges an answer; value is what the variable becomes.
func (a *ask) accept(given answer) (value any, ok bool) {
	switch a.kind {
	case "file":
		return toAny(given.urls), len(given.urls) > 0
	case "location":
		if given.location == nil {
			return nil, false
		}
		return map[string]any{"lat": given.location.Lat, "long": given.location.Long}, true
	}
	s := strings.TrimSpace(given.text)
	if given.hasValue {
		s = format(given.value)
	}
	switch a.kind {
	case "choice":
		for _, c := range a.choices {
			if given.hasValue && format(c.value) == s || !given.hasValue && slices.Contains(c.accepts, normalize(s)) && normalize(s) != "  " {
				return c.value, true
			}
		}
		return nil, false
	case "number", "integer":
		f, ok := parseNumber(s, a.kind == "integer")
		return f, ok && within(f, a.min, a.max)
	case "email":
		return s, isEmail(s)
	case "phone":
		return s, isPhone(s)
	case "date":
		iso, ok := parseDate(s)
		return iso, ok && (a.minDate == "" || iso >= a.minDate) && (a.maxDate == "" || iso <= a.maxDate)
	case "pattern":
		return s, a.pattern.MatchString(s)
	default:
		return s, s != "" && within(float64(utf8.RuneCountInString(s)), a.min, a.max)
	}
}

func toAny(list []string) any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func within(f float64, low, high *float64) bool {
	return (low == nil || f >= *low) && (high == nil || f <= *high)
}

// parseNumber reads a number with a point or a comma before the decimals, of at
// most 15 digits, which a float64 keeps exactly.
func parseNumber(s string, whole bool) (float64, bool) {
	if !whole && strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
		s = strings.Replace(s, ",", ".", 1)
	}
	digits := 0
	for i, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case (c == '-' || c == '+') && i == 0:
		case c == '.' && !whole:
		default:
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && digits <= 15
}

func isEmail(s string) bool {
	address, err := mail.ParseAddress(s)
	if err != nil || address.Address != s || len(s) > 254 {
		return false
	}
	domain := s[strings.LastIndexByte(s, '@')+1:]
	dot := strings.LastIndexByte(domain, '.')
	return dot > 0 && dot < len(domain)-2
}

func isPhone(s string) bool {
	digits := 0
	for i, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '+' && i == 0, strings.ContainsRune(" ()-./", c):
		default:
			return false
		}
	}
	return digits >= 6 && digits <= 15
}

// parseDate reads 2024-12-31, 31-12-2024, 31/12/2024 or 31.12.2024 (the day
// first, with or without leading zeros) and returns the first form.
func parseDate(s string) (iso string, ok bool) {
	for _, layout := range []string{time.DateOnly, "2-1-2006", "2/1/2006", "2.1.2006"} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.Format(time.DateOnly), true
		}
	}
	return "", false
}
