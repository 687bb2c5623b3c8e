package flow

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/pkg/chat"
)

// parsing is one run of Parse. Its methods note problems instead of returning
// errors, so that all of them come out at once; what they return for something
// wrong is usable (never nil where the caller goes on with it), but the
// definition is thrown away.
type parsing struct {
	def      *Definition
	problems []Problem
	warnings []Problem
	gotos    []reference
	messages []placed
	keys     map[string]*yaml.Node // where each dialog begins
	current  string                // the dialog that is being read; "" outside of dialogs
	steps    int
}

// placed is a message with where it stands.
type placed struct {
	message *message
	node    *yaml.Node
}

// reference is a place that names a dialog.
type reference struct {
	from string // the dialog it stands in; "" outside of dialogs
	to   string
	node *yaml.Node
}

func (p *parsing) fail(n *yaml.Node, format string, args ...any) {
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, Problem{Line: n.Line, Column: n.Column, Detail: fmt.Sprintf(format, args...)})
	}
}

func (p *parsing) warn(n *yaml.Node, format string, args ...any) {
	if len(p.warnings) < maxProblems {
		p.warnings = append(p.warnings, Problem{Line: n.Line, Column: n.Column, Detail: fmt.Sprintf(format, args...)})
	}
}

// pair is a member of a mapping.
type pair struct {
	key   *yaml.Node
	value *yaml.Node
}

// pairs reads a mapping in its order; what names it in problems.
func (p *parsing) pairs(n *yaml.Node, what string) []pair {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s must be a mapping (key: value), not %s", what, kindOf(n))
		return nil
	}
	var list []pair
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			p.fail(key, "a key must be a word, not %s", kindOf(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			p.fail(key, "%q stands here twice (first in line %d): remove one", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		list = append(list, pair{key, value})
	}
	return list
}

// fields is a mapping whose keys are known.
type fields struct {
	node  *yaml.Node
	pairs []pair
}

// fields reads a mapping and refuses keys that are not known.
func (p *parsing) fields(n *yaml.Node, what string, known ...string) fields {
	f := fields{node: n}
	for _, m := range p.pairs(n, what) {
		if !slices.Contains(known, m.key.Value) {
			p.fail(m.key, "%q is unknown in %s: use %s", m.key.Value, what, strings.Join(known, ", "))
			continue
		}
		f.pairs = append(f.pairs, m)
	}
	return f
}

// get returns a member's value, or nil.
func (f fields) get(key string) *yaml.Node {
	for _, m := range f.pairs {
		if m.key.Value == key {
			return m.value
		}
	}
	return nil
}

// items reads a sequence.
func (p *parsing) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s must be a list (lines that begin with -), not %s", what, kindOf(n))
		return nil
	}
	return n.Content
}

// word reads a scalar as text; empty ones are refused.
func (p *parsing) word(n *yaml.Node, what string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		p.fail(n, "%s must be a text, not %s", what, kindOf(n))
		return ""
	}
	if strings.TrimSpace(n.Value) == "" {
		p.fail(n, "%s is empty: write something", what)
	}
	return n.Value
}

func (p *parsing) number(n *yaml.Node, what string) *float64 {
	if n == nil {
		return nil
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		p.fail(n, "%s must be a number, not %s", what, kindOf(n))
		return nil
	}
	return &f
}

// whole reads a whole number in [low, high]; fallback where n is nil.
func (p *parsing) whole(n *yaml.Node, what string, low, high, fallback int) int {
	if n == nil {
		return fallback
	}
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || i < low || i > high {
		p.fail(n, "%s must be a whole number from %d to %d", what, low, high)
		return fallback
	}
	return i
}

func (p *parsing) boolean(n *yaml.Node, what string) bool {
	if n == nil {
		return false
	}
	var b bool
	if n.Kind != yaml.ScalarNode || n.Decode(&b) != nil {
		p.fail(n, "%s must be true or false", what)
	}
	return b
}

// dialog reads a dialog's name; that it exists is checked at the end.
func (p *parsing) dialog(n *yaml.Node, what string) string {
	name := p.word(n, what)
	if name != "" {
		p.gotos = append(p.gotos, reference{from: p.current, to: name, node: n})
	}
	return name
}

func (p *parsing) expression(n *yaml.Node, what string) *expression {
	if n == nil {
		return nil
	}
	source := p.word(n, what)
	if source == "" {
		return nil
	}
	e, err := compileExpression(source)
	if err != nil {
		p.fail(n, "%s: %v", what, err)
		return nil
	}
	return e
}

func (p *parsing) template(n *yaml.Node, what string) *template {
	source := p.word(n, what)
	t, err := compileTemplate(source)
	if err != nil {
		p.fail(n, "%s: %v", what, err)
		return &template{}
	}
	return t
}

// text reads a text: one for all locales, or a mapping of locales to texts.
func (p *parsing) text(n *yaml.Node, what string) *text {
	if n == nil {
		return nil
	}
	t := &text{byLocale: map[string]*template{}}
	if n.Kind != yaml.MappingNode {
		t.byLocale[""] = p.template(n, what)
		return t
	}
	for _, m := range p.pairs(n, what) {
		if locale := p.locale(m.key); locale != "" {
			t.byLocale[locale] = p.template(m.value, what+" in "+m.key.Value)
		}
	}
	if t.pick(p.def.chain("")) == nil {
		p.fail(n, "%s has no text in the default language: add %s", what, p.def.locale)
		return t
	}
	for _, locale := range p.def.locales {
		if !languageOf(t.byLocale, locale) {
			p.warn(n, "%s has no text in %s: the default language is used", what, locale)
		}
	}
	return t
}

// languageOf reports whether a locale finds a text without the default.
func languageOf[V any](byLocale map[string]V, locale string) bool {
	for tag := locale; ; {
		if _, ok := byLocale[tag]; ok {
			return true
		}
		cut := strings.LastIndexByte(tag, '-')
		if cut < 0 {
			return false
		}
		tag = tag[:cut]
	}
}

// locale reads a language tag, in lower case.
func (p *parsing) locale(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || !chat.ValidLocale(n.Value) {
		p.fail(n, `%q is no language tag: write one like en or nl-BE`, n.Value)
		return ""
	}
	return strings.ToLower(n.Value)
}

// assignments reads a mapping of variables to values, in its order.
func (p *parsing) assignments(n *yaml.Node, what string) []assignment {
	if n == nil {
		return nil
	}
	var list []assignment
	for _, m := range p.pairs(n, what) {
		if p.variable(m.key) {
			list = append(list, assignment{name: m.key.Value, value: p.value(m.value, 0)})
		}
	}
	return list
}

// variable checks a variable's name.
func (p *parsing) variable(n *yaml.Node) bool {
	ok := n.Kind == yaml.ScalarNode && n.Value != "" && len(n.Value) <= 64
	for i, c := range []byte(n.Value) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		ok = ok && (letter || i > 0 && c >= '0' && c <= '9')
	}
	switch {
	case !ok:
		p.fail(n, "%q is no name for a variable: use letters, digits and _, beginning with a letter", n.Value)
	case reserved(n.Value):
		p.fail(n, "the variable %s has a meaning of its own: choose another name", n.Value)
		return false
	}
	return ok
}

// maxNesting is how deep lists, objects and conditions may stand in each other.
const maxNesting = 20

func (p *parsing) value(n *yaml.Node, depth int) valueOf {
	if depth > maxNesting {
		p.fail(n, "nested deeper than %d: make it flatter", maxNesting)
		return valueOf{}
	}
	switch n.Kind {
	case yaml.SequenceNode:
		v := valueOf{kind: valueList}
		for _, item := range n.Content {
			v.list = append(v.list, p.value(item, depth+1))
		}
		return v
	case yaml.MappingNode:
		v := valueOf{kind: valueObject}
		for _, m := range p.pairs(n, "the value") {
			v.object = append(v.object, assignment{name: m.key.Value, value: p.value(m.value, depth+1)})
		}
		return v
	}
	if n.ShortTag() == "!!str" && strings.Contains(n.Value, "{{") {
		return valueOf{kind: valueTemplate, template: p.template(n, "the value")}
	}
	var literal any
	if n.ShortTag() == "!!timestamp" {
		literal = n.Value
	} else if err := n.Decode(&literal); err != nil {
		p.fail(n, "the value can't be read: %v", err)
	}
	literal, err := jsonValue(literal)
	if err != nil {
		p.fail(n, "the value can't be used: %v", err)
	}
	return valueOf{literal: literal}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	default:
		return fmt.Sprintf("%q", abbreviate(n.Value))
	}
}

func abbreviate(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return s
}
