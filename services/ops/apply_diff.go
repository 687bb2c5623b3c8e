package ops

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
)

// unmanaged are the fields of records that no file sets: what the registry
// notes, and what operators and workers switch.
var unmanaged = []string{"id", "enabledAt", "createdAt", "retiring", "paused", "disabled"}

// renamed are fields that the API calls otherwise. A token's hash stands for its
// value, which is a secret.
var renamed = map[string]string{"signingKey": "v1a", "hash": "value"}

// setting is a field's value as text; empty where it isn't set.
type setting struct {
	text   string
	secret bool
}

// shown is what may be said of it.
func (s setting) shown() string {
	switch {
	case s.text == "":
		return ""
	case s.secret:
		return Redacted
	case len(s.text) > 200:
		return digest(s.text)
	}
	return s.text
}

// difference compares two records of one type, by field; from may be nil.
func difference[T any](from, to *T) []FieldChange {
	had, has := map[string]setting{}, map[string]setting{}
	if from != nil {
		settings(had, "", reflect.ValueOf(from).Elem())
	}
	settings(has, "", reflect.ValueOf(to).Elem())
	all := maps.Clone(had)
	maps.Copy(all, has)
	var out []FieldChange
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if had[name].text != has[name].text {
			out = append(out, FieldChange{Field: name, From: had[name].shown(), To: has[name].shown(), Secret: all[name].secret})
		}
	}
	return out
}

// settings takes a record apart. A field whose type isn't known here is taken
// as its JSON, so that a new one is compared from its first day.
func settings(into map[string]setting, name string, v reflect.Value) {
	switch value := v.Interface().(type) {
	case chat.Secret:
		set(into, name, value.Reveal(), true)
		return
	case []chat.Secret:
		texts := make([]string, len(value))
		for i, s := range value {
			texts[i] = s.Reveal()
		}
		set(into, name, strings.Join(texts, "\n"), true)
		return
	case chat.Duration:
		if value != 0 {
			set(into, name, durationText(value), false)
		}
		return
	case []chat.Duration:
		texts := make([]string, len(value))
		for i, d := range value {
			texts[i] = durationText(d)
		}
		set(into, name, strings.Join(texts, ", "), false)
		return
	case []string:
		set(into, name, strings.Join(value, ", "), false)
		return
	case *chat.Rate:
		set(into, name, rateText(value), false)
		return
	case time.Time:
		set(into, name, value.Format(time.RFC3339Nano), false)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			settings(into, name, v.Elem())
		}
	case reflect.Struct:
		fields(into, name, v)
	case reflect.Map:
		for _, key := range v.MapKeys() {
			settings(into, name+"."+key.String(), v.MapIndex(key))
		}
	case reflect.String:
		set(into, name, v.String(), name == renamed["hash"])
	default:
		if !v.IsZero() {
			text, err := json.Marshal(v.Interface())
			if err != nil {
				text = fmt.Append(nil, v.Interface())
			}
			set(into, name, string(text), false)
		}
	}
}

func fields(into map[string]setting, name string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" && f.Anonymous {
			settings(into, name, v.Field(i))
			continue
		}
		if name == "" && slices.Contains(unmanaged, tag) {
			continue
		}
		if other, ok := renamed[tag]; ok {
			tag = other
		}
		if name != "" {
			tag = name + "." + tag
		}
		settings(into, tag, v.Field(i))
	}
}

func set(into map[string]setting, name, text string, secret bool) {
	if text != "" {
		into[name] = setting{text, secret}
	}
}

// durationText writes a time that never comes as the API does.
func durationText(d chat.Duration) string {
	if d < 0 {
		return never
	}
	return d.Std().String()
}
