package flow

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// Bounds of one turn. What comes after them is left out, with a warning.
const (
	MaxSteps    = 200
	MaxOutputs  = 20
	maxWarnings = 50
	// maxEvaluations bounds the expressions of one turn.
	maxEvaluations = 1_000
)

// run is one turn under way.
type run struct {
	def         *Definition
	session     bot.Session
	vars        map[string]any
	env         map[string]any // vars, and what expressions have besides
	chain       []string
	state       state
	outputs     []bot.Output
	messages    int // of outputs
	offloaded   bool
	nlp         *chat.NLP
	warnings    []string
	steps       int
	evaluations int
	stopped     func() error // not nil once the turn's time is up
}

func newRun(def *Definition, turn *bot.Turn, stopped func() error) *run {
	r := &run{def: def, session: turn.Session, vars: copyOf(turn.Session.Variables), stopped: stopped}
	for i := range def.variables {
		if _, ok := r.vars[def.variables[i].name]; !ok {
			r.vars[def.variables[i].name] = def.variables[i].value.eval(nil)
		}
	}
	r.env = copyOf(r.vars)
	user := turn.Session.User
	if user == nil {
		user = map[string]any{}
	}
	r.env["user"], r.env["intent"] = user, map[string]any{}
	locale := turn.Session.Locale
	if preferred, ok := user["preferredLanguage"].(string); ok && locale == "" && chat.ValidLocale(preferred) {
		locale = preferred
	}
	r.language(locale)
	if len(turn.Session.Dialog) > 0 {
		if err := json.Unmarshal(turn.Session.Dialog, &r.state); err != nil {
			r.state = state{}
			r.warn("the conversation's state can't be read, it begins anew: " + err.Error())
		}
	}
	return r
}

func (r *run) language(locale string) {
	r.chain = r.def.chain(locale)
	r.env["locale"] = r.chain[0]
}

func (r *run) input(in map[string]any) { r.env["input"] = in }

func (r *run) warn(s string) {
	if len(r.warnings) < maxWarnings {
		r.warnings = append(r.warnings, s)
	}
}

// eval evaluates an expression; one that can't be evaluated is nil.
func (r *run) eval(e *expression) any {
	if r.evaluations++; r.evaluations > maxEvaluations {
		r.warn("the turn has too many expressions: the rest count as nothing")
		return nil
	}
	if r.stopped() != nil {
		return nil // the turn ends with that error
	}
	v, err := e.eval(r.env)
	if err != nil {
		r.warn(err.Error())
		return nil
	}
	return v
}

// set sets a variable and reports whether that was possible.
func (r *run) set(name string, v any) bool {
	if reserved(name) {
		r.warn(fmt.Sprintf("the variable %q can't be set: the name has a meaning of its own", name))
		return false
	}
	stored, err := jsonValue(v)
	if err != nil {
		r.warn(fmt.Sprintf("the variable %q keeps its value: %v", name, err))
		return false
	}
	r.vars[name], r.env[name] = stored, stored
	return true
}

// execute runs a dialog from a step on, until it ends or asks.
func (r *run) execute(name string, at int) {
	d := r.def.dialogs[name]
	r.state.Dialog = name
	for d != nil && at < len(d.steps) {
		if r.steps++; r.steps > MaxSteps {
			r.warn(fmt.Sprintf("the turn was cut after %d steps, in the dialog %s: its dialogs go round in a loop", MaxSteps, name))
			return
		}
		s := &d.steps[at]
		at++
		switch s.kind {
		case stepSay:
			r.say(s.message)
		case stepAsk:
			if s.ask.message != nil {
				r.say(s.ask.message)
			}
			r.state.Step, r.state.Into = at-1, s.ask.into
			return
		case stepSet:
			for i := range s.set {
				r.set(s.set[i].name, s.set[i].value.eval(r.eval))
			}
		case stepUnless:
			if !truth(r.eval(s.condition)) {
				at = s.target
			}
		case stepJump:
			at = s.target
		case stepGoto:
			name, at = s.dialog, 0
			d = r.def.dialogs[name]
			r.state.Dialog = name
		case stepLocale:
			r.session.Locale = s.locale
			r.language(s.locale)
		case stepOffload:
			r.offload(s.set)
		}
	}
}

// say renders a message; one that comes out invalid is left out.
func (r *run) say(m *message) {
	out := m.render(&renderer{chain: r.chain, eval: r.eval, warn: r.warn})
	var problems chat.Problems
	out.Validate("", &problems)
	if err := problems.Err(); err != nil {
		r.warn(fmt.Sprintf("a message of the dialog %s was left out: %v", r.state.Dialog, err))
		return
	}
	if r.messages == MaxOutputs {
		r.warn(fmt.Sprintf("the turn has more than %d messages: the rest were left out", MaxOutputs))
		return
	}
	for _, w := range out.Warnings() {
		r.warn(w)
	}
	r.messages++
	r.outputs = append(r.outputs, bot.Output{Message: out})
}

// offload hands the conversation over to a human, once a turn.
func (r *run) offload(details []assignment) {
	if r.offloaded {
		r.warn("the conversation is handed over already: another offload of the turn was left out")
		return
	}
	r.offloaded = true
	said := map[string]any{}
	for i := range details {
		v, err := jsonValue(details[i].value.eval(r.eval))
		if err != nil {
			r.warn(fmt.Sprintf("the offload's %q was left out: %v", details[i].name, err))
			continue
		}
		said[details[i].name] = v
	}
	out := bot.Output{Event: chat.EventOffload}
	if len(said) > 0 {
		out.Details, _ = json.Marshal(said) // jsonValue's are JSON
	}
	r.outputs = append(r.outputs, out)
}

// answer is what the turn came to.
func (r *run) answer() (*bot.Answer, error) {
	if err := r.stopped(); err != nil {
		return nil, fmt.Errorf("the flow bot's turn was stopped: %w", err)
	}
	dialog, err := json.Marshal(r.state)
	if err != nil {
		return nil, fmt.Errorf("write the conversation's state: %w", err)
	}
	a := &bot.Answer{Session: r.session, Warnings: r.warnings}
	a.Session.Dialog = dialog
	a.Session.Variables = maps.Clone(r.vars)
	for _, out := range r.outputs {
		if out.Event == "" {
			out.NLP = r.nlp
		}
		a.Outputs = append(a.Outputs, out)
	}
	return a, nil
}
