package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/parleyhq/parley/pkg/bot"
	"github.com/parleyhq/parley/pkg/chat"
)

// New returns the bot of a definition.
func New(def *Definition) bot.Bot { return &flow{def: def} }

type flow struct{ def *Definition }

// state is where a conversation stands: session.Dialog.
type state struct {
	Dialog string `json:"dialog,omitempty"`
	// Step and Into are the question that waits for an answer; Into is empty
	// where none does.
	Step          int    `json:"step,omitempty"`
	Into          string `json:"into,omitempty"`
	Tries         int    `json:"tries,omitempty"`
	NotUnderstood int    `json:"notUnderstood,omitempty"`
}

// Respond implements bot.Bot. Its error is a *bot.RefusedError for an input that
// can't be read, or the context's.
func (f *flow) Respond(ctx context.Context, turn *bot.Turn) (*bot.Answer, error) {
	r := newRun(f.def, turn, ctx.Err)
	if err := r.handle(turn.Input); err != nil {
		return nil, &bot.RefusedError{Reason: err.Error()}
	}
	return r.answer()
}

func (r *run) handle(in chat.Input) error {
	switch in.Kind {
	case chat.InputText:
		var body chat.TextInput
		if err := read(in, &body); err != nil {
			return err
		}
		r.input(map[string]any{"kind": "text", "text": body.Text})
		r.said(answer{text: body.Text})
	case chat.InputPostback:
		var body chat.PostbackInput
		if err := read(in, &body); err != nil {
			return err
		}
		r.input(map[string]any{"kind": "postback", "text": body.Title, "title": body.Title, "payload": body.Payload})
		r.chose(&body)
	case chat.InputIntro:
		r.input(map[string]any{"kind": "intro"})
		r.jump(r.def.intro)
	case chat.InputFile:
		var body chat.FileInput
		if err := read(in, &body); err != nil {
			return err
		}
		r.input(map[string]any{"kind": "file", "urls": toAny(body.URLs)})
		r.sent("file", answer{urls: body.URLs})
	case chat.InputLocation:
		var body chat.LocationInput
		if err := read(in, &body); err != nil {
			return err
		}
		r.input(map[string]any{"kind": "location", "lat": body.Lat, "long": body.Long})
		r.sent("location", answer{location: &body})
	case chat.InputActions:
		var body chat.Actions
		if err := read(in, &body); err != nil {
			return err
		}
		r.input(map[string]any{"kind": "actions"})
		if body.NextDialogstate != "" {
			r.jumpFromOutside(body.NextDialogstate)
		}
	default:
		return fmt.Errorf("the kind of input %q is unknown", in.Kind)
	}
	return nil
}

func read(in chat.Input, into any) error {
	if err := json.Unmarshal(in.Body, into); err != nil {
		return fmt.Errorf("the %s can't be read: %w", in.Kind, err)
	}
	return nil
}

// said handles a text: an intent, or the answer to the question that waits,
// before which only the intents for any time are considered.
func (r *run) said(given answer) {
	question := r.awaited()
	found := r.recognise(given.text, func(in *intent) bool { return question == nil || in.anytime })
	switch {
	case found.intent != nil:
		r.follow(found)
	case question != nil:
		r.answered(question, given)
	default:
		r.notUnderstood()
	}
}

func (r *run) recognise(s string, only func(*intent) bool) match {
	return r.def.recognise(s, r.chain, func(in *intent) bool {
		return only(in) && (in.when == nil || truth(r.eval(in.when)))
	})
}

func (r *run) follow(found match) {
	r.nlp = &chat.NLP{Intent: chat.Intent{Name: found.intent.name, Score: found.score}}
	r.env["intent"] = map[string]any{"name": found.intent.name, "score": found.score}
	for name, caught := range found.set {
		r.set(name, caught)
	}
	r.jump(found.intent.dialog)
}

// chose handles a button or quick reply: it may set variables, go to a dialog,
// or answer the question that waits.
func (r *run) chose(body *chat.PostbackInput) {
	pairs, dialog := body.SessionDataToSet, body.NextDialogstateID
	if payload, ok := chat.ParsePostbackPayload(body.Payload); ok {
		pairs = append(payload.Params, pairs...)
		if dialog == "" {
			dialog = payload.NextDialogstateID
		}
	}
	given := answer{text: body.Title}
	question := r.awaited()
	for _, pair := range pairs {
		var value any
		if err := json.Unmarshal(pair.Value, &value); err != nil {
			r.warn(fmt.Sprintf("the postback's variable %q can't be read: %v", pair.Key, err))
			continue
		}
		if question != nil && dialog == "" && pair.Key == question.into {
			given.value, given.hasValue = value, true // set when it is accepted
			continue
		}
		r.set(pair.Key, value)
	}
	switch {
	case dialog != "":
		r.jumpFromOutside(dialog)
	case question != nil:
		r.answered(question, given)
	default:
		r.said(given)
	}
}

// sent handles a file or a location.
func (r *run) sent(kind string, given answer) {
	if question := r.awaited(); question != nil && question.kind == kind {
		r.answered(question, given)
	} else if dialog := r.def.on[kind]; dialog != "" {
		r.jump(dialog)
	} else if question != nil {
		r.answered(question, given)
	} else {
		r.notUnderstood()
	}
}

// answered judges the answer to a question and goes on behind it, or asks
// again.
func (r *run) answered(question *ask, given answer) {
	r.state.NotUnderstood = 0
	value, ok := question.accept(given)
	if ok && question.check != nil {
		r.env["value"] = value
		ok = truth(r.eval(question.check))
		delete(r.env, "value")
	}
	if ok && r.set(question.into, value) {
		at := r.state
		r.state = state{}
		r.execute(at.Dialog, at.Step+1)
		return
	}
	if r.state.Tries++; r.state.Tries <= question.tries {
		if m := question.again(); m != nil {
			r.say(m)
		}
		return
	}
	r.state = state{NotUnderstood: r.state.NotUnderstood}
	if question.fallback != "" {
		r.jump(question.fallback)
		return
	}
	r.notUnderstood()
}

func (r *run) notUnderstood() {
	nu := r.def.notUnderstood
	r.state.NotUnderstood++
	count := r.state.NotUnderstood
	dialog := nu.dialog
	if nu.then != "" && count >= nu.after {
		dialog, count = nu.then, 0
	}
	if dialog == "" {
		r.warn("the input was not understood and the bot has no not_understood dialog")
		return
	}
	r.jump(dialog)
	r.state.NotUnderstood = count
}

// jumpFromOutside goes to a dialog that a button or an action names: one that
// isn't there (an old button) is not understood.
func (r *run) jumpFromOutside(dialog string) {
	if r.def.dialogs[dialog] == nil {
		r.warn(fmt.Sprintf("there is no dialog %q to go to", dialog))
		r.notUnderstood()
		return
	}
	r.jump(dialog)
}

// jump begins a dialog and forgets the question that waited.
func (r *run) jump(dialog string) {
	r.state = state{}
	r.execute(dialog, 0)
}

// awaited returns the question that waits for an answer, or nil.
func (r *run) awaited() *ask {
	if r.state.Into == "" {
		return nil
	}
	d := r.def.dialogs[r.state.Dialog]
	if d == nil || r.state.Step < 0 || r.state.Step >= len(d.steps) {
		return nil
	}
	if s := d.steps[r.state.Step]; s.kind == stepAsk && s.ask.into == r.state.Into {
		return s.ask
	}
	return nil // the file was changed since
}

func copyOf(m map[string]any) map[string]any {
	out := make(map[string]any, len(m)+8)
	maps.Copy(out, m)
	return out
}
