package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// template is a text with expressions between {{ and }}.
type template struct {
	parts []part
}

// part is a literal, or an expression where that isn't nil.
type part struct {
	literal    string
	expression *expression
}

func compileTemplate(source string) (*template, error) {
	t := &template{}
	for source != "" {
		start := strings.Index(source, "{{")
		if start < 0 {
			t.parts = append(t.parts, part{literal: source})
			break
		}
		if start > 0 {
			t.parts = append(t.parts, part{literal: source[:start]})
		}
		end := closing(source[start+2:])
		if end < 0 {
			return nil, errors.New("{{ is not closed: write }} after the expression")
		}
		e, err := compileExpression(source[start+2 : start+2+end])
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{expression: e})
		source = source[start+2+end+2:]
	}
	return t, nil
}

// closing returns where }} stands outside of quoted strings and braces, or -1.
func closing(s string) int {
	var quote byte
	depth := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}' && i+1 < len(s) && s[i+1] == '}':
			return i
		}
	}
	return -1
}

// whole returns the expression that the template consists of, or nil.
func (t *template) whole() *expression {
	if len(t.parts) == 1 {
		return t.parts[0].expression
	}
	return nil
}

// static reports whether the template has no expressions.
func (t *template) static() bool {
	for _, p := range t.parts {
		if p.expression != nil {
			return false
		}
	}
	return true
}

// evaluator evaluates expressions in a turn (or pretends to, when Parse checks
// messages).
type evaluator func(e *expression) any

func (t *template) text(eval evaluator) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expression == nil {
			b.WriteString(p.literal)
		} else {
			b.WriteString(clean(format(eval(p.expression))))
		}
	}
	return b.String()
}

// link fills in a URL: what stands inside of one is escaped, so that a value
// can't change the URL's host or add parameters; a template that is nothing
// but an expression gives the whole URL.
func (t *template) link(eval evaluator) string {
	if e := t.whole(); e != nil {
		return clean(format(eval(e)))
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expression == nil {
			b.WriteString(p.literal)
		} else {
			b.WriteString(strings.ReplaceAll(url.QueryEscape(format(eval(p.expression))), "+", "%20"))
		}
	}
	return b.String()
}

// format writes a value as people read it: numbers without needless decimals,
// nothing for nil, lists with commas, objects as JSON.
func format(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case int:
		return strconv.Itoa(x)
	case float64:
		return formatFloat(x)
	case []any:
		parts := make([]string, len(x))
		for i, item := range x {
			parts[i] = format(item)
		}
		return strings.Join(parts, ", ")
	default:
		b, err := json.Marshal(x)
		if err != nil {
			return fmt.Sprint(x)
		}
		return string(b)
	}
}

// formatFloat rounds away what binary fractions leave (0.1 + 0.2 is 0.3).
func formatFloat(f float64) string {
	if math.Abs(f) >= 1e15 || math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	s := strings.TrimRight(strings.TrimRight(strconv.FormatFloat(f, 'f', 9, 64), "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

// clean takes out control characters (but line breaks and tabs) and those that
// turn the direction of what follows.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		override := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
		if override || unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// text is a template for each locale; the key is "" where one serves all.
type text struct {
	byLocale map[string]*template
}

// pick returns the template of the first locale in the chain that has one.
func (t *text) pick(chain []string) *template {
	for _, locale := range chain {
		if found := t.byLocale[locale]; found != nil {
			return found
		}
	}
	return t.byLocale[""]
}
