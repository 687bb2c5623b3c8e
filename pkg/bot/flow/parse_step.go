package flow

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// messageKeys are the keys of a step that sends a message.
func messageKeys() []string {
	return []string{"text", "quick_replies", "buttons", "image", "video", "audio", "file", "carousel", "list"}
}

// stepKeys are the keys of which each step has one, with those that may stand
// beside it.
func stepKeys() map[string][]string {
	return map[string][]string{
		"ask":     append(messageKeys(), "into", "error", "tries", "fallback", "min", "max", "pattern", "choices", "check"),
		"set":     nil,
		"if":      {"then", "else"},
		"goto":    nil,
		"locale":  nil,
		"offload": nil,
	}
}

// readSteps appends what a list of steps compiles to.
func (p *parsing) readSteps(steps []step, n *yaml.Node, depth int) []step {
	if depth > maxNesting {
		p.fail(n, "conditions nested deeper than %d: use a dialog of its own", maxNesting)
		return steps
	}
	if n.Kind != yaml.SequenceNode {
		return steps
	}
	for _, item := range n.Content {
		if p.steps++; p.steps == maxStepsIn {
			p.fail(item, "the file has more than %d steps: split the bot", maxStepsIn)
		}
		if p.steps >= maxStepsIn {
			return steps
		}
		steps = p.readStep(steps, item, depth)
	}
	return steps
}

func (p *parsing) readStep(steps []step, n *yaml.Node, depth int) []step {
	if n.Kind == yaml.ScalarNode {
		m := &message{text: p.text(n, "the text")}
		return append(steps, p.say(n, m))
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, "a step must be a text or a mapping, not %s", kindOf(n))
		return steps
	}
	action := ""
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if _, ok := stepKeys()[key]; !ok {
			continue
		}
		if action != "" {
			p.fail(n.Content[i], "%s can't stand beside %s: make it a step of its own (begin it with -)", key, action)
			return steps
		}
		action = key
	}
	if action == "" {
		f := p.fields(n, "a step", append(messageKeys(), "ask", "set", "if", "then", "else", "goto", "locale", "offload")...)
		return append(steps, p.say(n, p.readMessage(f)))
	}
	f := p.fields(n, "a step with "+action, append([]string{action}, stepKeys()[action]...)...)
	switch value := f.get(action); action {
	case "ask":
		return append(steps, step{kind: stepAsk, ask: p.readAsk(f)})
	case "set":
		return append(steps, step{kind: stepSet, set: p.assignments(value, "set")})
	case "goto":
		return append(steps, step{kind: stepGoto, dialog: p.dialog(value, "goto")})
	case "locale":
		return append(steps, step{kind: stepLocale, locale: p.locale(value)})
	case "offload":
		return append(steps, step{kind: stepOffload, set: p.details(value)})
	default:
		return p.readIf(steps, f, depth)
	}
}

// details reads what is told of an offload: names with values.
func (p *parsing) details(n *yaml.Node) []assignment {
	var list []assignment
	for _, m := range p.pairs(n, "offload") {
		list = append(list, assignment{name: m.key.Value, value: p.value(m.value, 0)})
	}
	return list
}

func (p *parsing) say(n *yaml.Node, m *message) step {
	p.messages = append(p.messages, placed{message: m, node: n})
	return step{kind: stepSay, message: m}
}

// readIf compiles a condition to jumps.
func (p *parsing) readIf(steps []step, f fields, depth int) []step {
	unless := len(steps)
	steps = append(steps, step{kind: stepUnless, condition: p.expression(f.get("if"), "if")})
	if f.get("then") == nil {
		p.fail(f.node, "if has no then: write the steps, or the dialog to go to")
	}
	steps = p.branch(steps, f.get("then"), "then", depth)
	if other := f.get("else"); other != nil {
		jump := len(steps)
		steps = append(steps, step{kind: stepJump})
		steps[unless].target = len(steps)
		steps = p.branch(steps, other, "else", depth)
		steps[jump].target = len(steps)
		return steps
	}
	steps[unless].target = len(steps)
	return steps
}

// branch reads a list of steps, or the name of a dialog to go to.
func (p *parsing) branch(steps []step, n *yaml.Node, what string, depth int) []step {
	switch {
	case n == nil:
		return steps
	case n.Kind == yaml.ScalarNode:
		return append(steps, step{kind: stepGoto, dialog: p.dialog(n, what)})
	default:
		p.items(n, what)
		return p.readSteps(steps, n, depth+1)
	}
}

// askKinds are the types of answer.
func askKinds() []string {
	return []string{"text", "number", "integer", "email", "phone", "date", "choice", "pattern", "file", "location"}
}

// maxTries is how often a question may be asked again.
const maxTries = 20

func (p *parsing) readAsk(f fields) *ask {
	a := &ask{kind: p.word(f.get("ask"), "ask")}
	if a.kind != "" && !slices.Contains(askKinds(), a.kind) {
		p.fail(f.get("ask"), "%q is no type of answer: use %s", a.kind, strings.Join(askKinds(), ", "))
	}
	if n := f.get("into"); n == nil {
		p.fail(f.node, "ask has no into: name the variable that gets the answer")
	} else if p.variable(n) {
		a.into = n.Value
	}
	a.errorText = p.text(f.get("error"), "error")
	a.tries = p.whole(f.get("tries"), "tries", 0, maxTries, 2)
	if n := f.get("fallback"); n != nil {
		a.fallback = p.dialog(n, "fallback")
	}
	a.check = p.expression(f.get("check"), "check")
	p.readBounds(a, f)
	p.readChoices(a, f)
	if n := f.get("pattern"); n != nil && a.kind == "pattern" {
		a.pattern = p.pattern(n)
	} else if n != nil {
		p.fail(n, "pattern only goes with ask: pattern, not with ask: %s", a.kind)
	} else if a.kind == "pattern" {
		p.fail(f.node, "ask: pattern has no pattern: write the regular expression")
	}
	for _, key := range messageKeys() {
		if f.get(key) != nil {
			a.message = p.readMessage(f)
			break
		}
	}
	if a.message != nil {
		if a.kind == "choice" && a.message.text != nil && len(a.message.replies)+len(a.message.buttons) == 0 {
			a.message.replies = a.replies()
		}
		p.messages = append(p.messages, placed{message: a.message, node: f.node})
	}
	if a.errorText != nil {
		p.messages = append(p.messages, placed{message: a.again(), node: f.node})
	}
	return a
}

func (p *parsing) readBounds(a *ask, f fields) {
	for _, key := range []string{"min", "max"} {
		n := f.get(key)
		if n == nil {
			continue
		}
		switch a.kind {
		case "number", "integer", "text":
			v := p.number(n, key)
			if key == "min" {
				a.min = v
			} else {
				a.max = v
			}
		case "date":
			iso, ok := parseDate(n.Value)
			if n.Kind != yaml.ScalarNode || !ok {
				p.fail(n, "%s must be a date such as 2024-12-31", key)
			}
			if key == "min" {
				a.minDate = iso
			} else {
				a.maxDate = iso
			}
		default:
			p.fail(n, "%s only goes with ask: number, integer, text or date", key)
		}
	}
	if a.min != nil && a.max != nil && *a.min > *a.max || a.minDate != "" && a.maxDate != "" && a.minDate > a.maxDate {
		p.fail(f.get("min"), "min is above max: no answer could be right")
	}
}

func (p *parsing) readChoices(a *ask, f fields) {
	n := f.get("choices")
	switch {
	case n == nil && a.kind == "choice":
		p.fail(f.node, "ask: choice has no choices: list them")
		return
	case n != nil && a.kind != "choice":
		p.fail(n, "choices only goes with ask: choice, not with ask: %s", a.kind)
		return
	case n == nil:
		return
	}
	items := p.items(n, "choices")
	if n.Kind == yaml.SequenceNode && len(items) == 0 {
		p.fail(n, "choices is empty: list at least one")
	}
	for _, item := range items {
		a.choices = append(a.choices, p.readChoice(item))
	}
}

func (p *parsing) readChoice(n *yaml.Node) choice {
	if n.Kind == yaml.ScalarNode {
		c := choice{title: p.text(n, "a choice"), value: n.Value}
		if !c.title.byLocale[""].static() {
			p.fail(n, "a choice's title can't have expressions: use quick_replies")
		}
		c.accepts = []string{normalize(n.Value)}
		return c
	}
	f := p.fields(n, "a choice", "title", "value", "also", "image")
	c := choice{title: p.text(f.get("title"), "title"), image: p.text(f.get("image"), "image")}
	if c.title == nil {
		p.fail(n, "the choice has no title: write one")
		c.title = &text{}
	}
	for _, locale := range slices.Sorted(keysOf(c.title.byLocale)) {
		t := c.title.byLocale[locale]
		if !t.static() {
			p.fail(f.get("title"), "a choice's title can't have expressions: use quick_replies")
			break
		}
		c.accepts = append(c.accepts, normalize(t.text(nil)))
	}
	if v := f.get("value"); v != nil {
		value := p.value(v, 0)
		if value.kind != valueLiteral {
			p.fail(v, "a choice's value must be a plain value")
		}
		c.value = value.literal
		c.accepts = append(c.accepts, normalize(format(c.value)))
	} else if t := c.title.pick(p.def.chain("")); t != nil && t.static() {
		c.value = t.text(nil)
	}
	if also := f.get("also"); also != nil {
		for _, item := range p.items(also, "also") {
			c.accepts = append(c.accepts, normalize(p.word(item, "one of also")))
		}
	}
	return c
}
