package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parleyhq/parley/pkg/chat"
)

// Bounds of a file.
const (
	MaxFile    = 512 * 1024 // bytes
	maxNodesIn = 50_000     // YAML nodes
	maxStepsIn = 10_000     // of all dialogs together
)

// Parse reads and compiles a bot's file; name stands in its errors. An error is
// a *ParseError with everything that is wrong.
func Parse(name string, source []byte) (*Definition, error) {
	p := &parsing{def: &Definition{
		name: name, locale: "en", on: map[string]string{}, dialogs: map[string]*dialog{},
	}, keys: map[string]*yaml.Node{}}
	if root := p.load(source); root != nil {
		p.file(root)
		p.link()
		p.checkMessages()
	}
	if len(p.problems) > 0 {
		return nil, &ParseError{Name: name, Problems: p.sorted(p.problems)}
	}
	p.def.warnings = p.sorted(p.warnings)
	return p.def, nil
}

func (p *parsing) sorted(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.Compact(list)
}

// load reads the YAML itself; nil means that nothing more can be said of it.
func (p *parsing) load(source []byte) *yaml.Node {
	start := &yaml.Node{Line: 1, Column: 1}
	if len(source) > MaxFile {
		p.fail(start, "the file has %d bytes: make it at most %d", len(source), MaxFile)
		return nil
	}
	var document yaml.Node
	if err := yaml.Load(source, &document); err != nil {
		var at *yaml.LoadError
		switch {
		case strings.Contains(err.Error(), "no documents in stream"):
			p.fail(start, "the file is empty: write at least intro and dialogs")
		case errors.As(err, &at) && at.Mark.Line > 0:
			start.Line, start.Column = at.Mark.Line, max(at.Mark.Column, 1)
			p.fail(start, "the YAML is wrong: %s", at.Message)
		default:
			p.fail(start, "the YAML is wrong: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return nil
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		p.fail(start, "the file is empty: write at least intro and dialogs")
		return nil
	}
	count := 0
	if !p.countNodes(document.Content[0], &count) {
		return nil
	}
	return document.Content[0]
}

// countNodes refuses aliases (which could make a small file endless) and files
// of too many nodes.
func (p *parsing) countNodes(n *yaml.Node, count *int) bool {
	*count++
	if *count > maxNodesIn {
		p.fail(n, "the file has more than %d values: split the bot", maxNodesIn)
		return false
	}
	if n.Kind == yaml.AliasNode {
		p.fail(n, "aliases (*%s) are not supported: write it out, or use a dialog of its own", n.Value)
		return false
	}
	for _, c := range n.Content {
		if !p.countNodes(c, count) {
			return false
		}
	}
	return true
}

func (p *parsing) file(root *yaml.Node) {
	f := p.fields(root, "the file", "bot", "locale", "locales", "threshold", "variables", "intro", "not_understood", "on",
		"entries", "intents", "dialogs")
	if n := f.get("bot"); n != nil {
		p.def.name = p.word(n, "bot")
	}
	p.languages(f)
	for _, m := range p.optionalPairs(f.get("variables"), "variables") {
		if p.variable(m.key) {
			v := p.value(m.value, 0)
			if v.kind == valueTemplate {
				p.fail(m.value, "the variable %s can't begin with an expression: set it in a dialog", m.key.Value)
			}
			p.def.variables = append(p.def.variables, assignment{name: m.key.Value, value: v})
		}
	}
	if n := f.get("intro"); n != nil {
		p.def.intro = p.dialog(n, "intro")
	} else if root.Kind == yaml.MappingNode {
		p.fail(root, "intro is missing: name the dialog that greets the user")
	}
	p.readNotUnderstood(f.get("not_understood"), root)
	for _, m := range p.optionalPairs(f.get("on"), "on") {
		if m.key.Value != "file" && m.key.Value != "location" {
			p.fail(m.key, "%q is unknown in on: use file, location", m.key.Value)
			continue
		}
		p.def.on[m.key.Value] = p.dialog(m.value, "on "+m.key.Value)
	}
	if n := f.get("entries"); n != nil {
		for _, item := range p.items(n, "entries") {
			p.dialog(item, "an entry")
		}
	}
	p.readIntents(f)
	p.readDialogs(f.get("dialogs"), root)
}

func (p *parsing) optionalPairs(n *yaml.Node, what string) []pair {
	if n == nil {
		return nil
	}
	return p.pairs(n, what)
}

func (p *parsing) languages(f fields) {
	if n := f.get("locale"); n != nil {
		if l := p.locale(n); l != "" {
			p.def.locale = l
		}
	}
	p.def.locales = []string{p.def.locale}
	if n := f.get("locales"); n != nil {
		for _, item := range p.items(n, "locales") {
			if l := p.locale(item); l != "" && !slices.Contains(p.def.locales, l) {
				p.def.locales = append(p.def.locales, l)
			}
		}
	}
}

func (p *parsing) readNotUnderstood(n, root *yaml.Node) {
	switch {
	case n == nil:
		if root.Kind == yaml.MappingNode {
			p.warn(root, "not_understood is missing: the bot is silent when it doesn't understand")
		}
	case n.Kind == yaml.ScalarNode:
		p.def.notUnderstood.dialog = p.dialog(n, "not_understood")
	default:
		f := p.fields(n, "not_understood", "dialog", "after", "then")
		nu := &p.def.notUnderstood
		if d := f.get("dialog"); d != nil {
			nu.dialog = p.dialog(d, "not_understood's dialog")
		} else {
			p.fail(n, "not_understood has no dialog: name one")
		}
		nu.after = p.whole(f.get("after"), "after", 1, 100, 3)
		if d := f.get("then"); d != nil {
			nu.then = p.dialog(d, "not_understood's then")
		} else if f.get("after") != nil {
			p.fail(n, "not_understood has after without then: name the dialog to go to after %d times", nu.after)
		}
	}
}

func (p *parsing) readDialogs(n, root *yaml.Node) {
	if n == nil {
		p.fail(root, "dialogs is missing: write at least the intro's")
		return
	}
	for _, m := range p.pairs(n, "dialogs") {
		if m.key.Value == "" || len([]rune(m.key.Value)) > chat.MaxDialogstate {
			p.fail(m.key, "a dialog's name must have 1 to %d characters", chat.MaxDialogstate)
			continue
		}
		p.current = m.key.Value
		d := &dialog{name: p.current}
		p.keys[d.name] = m.key
		if p.items(m.value, "the dialog "+d.name); m.value.Kind == yaml.SequenceNode && len(m.value.Content) == 0 {
			p.fail(m.value, "the dialog %s has no steps: write at least one", d.name)
		}
		d.steps = p.readSteps(nil, m.value, 0)
		p.def.dialogs[d.name] = d
	}
	p.current = ""
}

// link checks that every dialog that is named exists, and warns of dialogs that
// nothing leads to.
func (p *parsing) link() {
	reached := map[string]bool{}
	from := []string{""}
	for len(from) > 0 {
		at := from[0]
		from = from[1:]
		for _, r := range p.gotos {
			if r.from == at && !reached[r.to] {
				reached[r.to] = true
				from = append(from, r.to)
			}
		}
	}
	for _, r := range p.gotos {
		if p.def.dialogs[r.to] == nil {
			p.fail(r.node, "there is no dialog %q%s", r.to, p.similar(r.to))
		}
	}
	for name := range p.def.dialogs {
		if !reached[name] {
			p.warn(p.keys[name], "nothing leads to the dialog %s: list it under entries if it is reached from outside", name)
		}
	}
}

// similar suggests the dialog whose name begins or ends most like the name.
func (p *parsing) similar(name string) string {
	best, most := "", len(name)/2
	for _, candidate := range p.def.Dialogs() {
		if n := commonEnds(name, candidate); n > most {
			best, most = candidate, n
		}
	}
	if best == "" {
		return ": write one, or correct the name"
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// commonEnds counts the bytes that two words share at their beginnings and ends.
func commonEnds(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	m := 0
	for m < len(a)-n && m < len(b)-n && a[len(a)-1-m] == b[len(b)-1-m] {
		m++
	}
	return n + m
}
