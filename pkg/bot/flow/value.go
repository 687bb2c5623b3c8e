package flow

import (
	"encoding/json"
	"fmt"
)

// MaxValue is how large one variable may be, in bytes of JSON.
const MaxValue = 8 * 1024

// assignment sets one variable.
type assignment struct {
	name  string
	value valueOf
}

// valueOf is what a variable is set to: a literal, a template (a template that
// is nothing but an expression gives that expression's value with its type), or
// a list or object of these.
type valueOf struct {
	literal  any
	template *template
	list     []valueOf
	object   []assignment
	kind     valueKind
}

type valueKind int

const (
	valueLiteral valueKind = iota
	valueTemplate
	valueList
	valueObject
)

func (v *valueOf) eval(eval evaluator) any {
	switch v.kind {
	case valueTemplate:
		if e := v.template.whole(); e != nil {
			return eval(e)
		}
		return v.template.text(eval)
	case valueList:
		list := make([]any, len(v.list))
		for i := range v.list {
			list[i] = v.list[i].eval(eval)
		}
		return list
	case valueObject:
		object := make(map[string]any, len(v.object))
		for i := range v.object {
			object[v.object[i].name] = v.object[i].value.eval(eval)
		}
		return object
	default:
		return v.literal
	}
}

// jsonValue makes of a value what it will be after the session was stored and
// read again, and refuses what can't be stored.
func jsonValue(v any) (any, error) {
	switch v.(type) {
	case nil, bool:
		return v, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("it can't be stored: %w", err)
	}
	if len(b) > MaxValue {
		return nil, fmt.Errorf("it has %d bytes, a variable holds at most %d", len(b), MaxValue)
	}
	var stored any
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("it can't be stored: %w", err)
	}
	return stored, nil
}

// reserved reports whether expressions have something else under the name.
func reserved(name string) bool {
	switch name {
	case "user", "input", "locale", "intent", "value":
		return true
	default:
		return false
	}
}
