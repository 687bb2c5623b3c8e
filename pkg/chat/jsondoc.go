package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep JSON from outside may nest.
const MaxDepth = 64

// value is one JSON value: valid, compact, without duplicate keys. Only parse
// makes one from bytes of outside, so what walks it needs no error handling.
type value []byte

// parse checks a body (UTF-8, one JSON value, no duplicate keys, bounded
// depth) and compacts it. The value may alias the body.
func parse(body []byte, p *Problems) value {
	if v, ok := plain(body); ok {
		return v
	}
	return parseAny(body, p)
}

// parseAny is parse for what plain doesn't know. The body is read twice: by
// encoding/json for its syntax, and by checker.
func parseAny(body []byte, p *Problems) value {
	if len(bytes.TrimSpace(body)) == 0 {
		p.Add("", "the body is empty: send a JSON object")
		return nil
	}
	var buf bytes.Buffer
	buf.Grow(len(body))
	if err := json.Compact(&buf, body); err != nil {
		var ignored json.RawMessage
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &ignored)); ok { // unlike Compact it says where
			p.Add("", fmt.Sprintf("the body is not JSON: %s (at byte %d)", syntax.Error(), syntax.Offset))
		} else {
			p.Add("", "the body is not JSON: "+err.Error())
		}
		return nil
	}
	if !utf8.Valid(buf.Bytes()) {
		p.Add("", "the body is not valid UTF-8: encode it as UTF-8")
		return nil
	}
	c := checker{b: buf.Bytes(), p: p}
	if c.value(0, nil, 0); c.failed {
		return nil
	}
	return value(c.b)
}

// checker looks for duplicate keys and too deep nesting.
type checker struct {
	b      []byte
	p      *Problems
	failed bool
}

// place is where the checker is, as a list that ends at the root.
type place struct {
	up    *place
	key   string
	index int
}

func (at *place) pointer() string {
	if at == nil {
		return ""
	}
	if at.index >= 0 {
		return at.up.pointer() + "/" + strconv.Itoa(at.index)
	}
	return at.up.pointer() + "/" + escapePointer(at.key)
}

func (c *checker) fail(at *place, detail string) {
	c.failed = true
	c.p.Add(at.pointer(), detail)
}

// value checks the value that starts at i and returns where it ends.
func (c *checker) value(i int, at *place, depth int) int {
	switch c.b[i] {
	case '{', '[':
		if depth == MaxDepth {
			c.fail(at, fmt.Sprintf("nested deeper than %d levels: make it flatter", MaxDepth))
			return skip(c.b, i)
		}
		if c.b[i] == '{' {
			return c.object(i+1, at, depth+1)
		}
		return c.array(i+1, at, depth+1)
	default:
		return skip(c.b, i)
	}
}

func (c *checker) object(i int, at *place, depth int) int {
	var few [16]string
	keys := few[:0]
	var many map[string]bool
	here := &place{up: at, index: -1}
	for c.b[i] != '}' {
		if c.b[i] == ',' {
			i++
		}
		end := skip(c.b, i)
		key := unquote(c.b[i:end])
		here.key = key
		duplicate := many[key]
		for _, k := range keys {
			duplicate = duplicate || k == key
		}
		if duplicate {
			c.fail(here, "the key stands here twice: send it once")
		}
		switch {
		case many != nil:
			many[key] = true
		case len(keys) < cap(keys):
			keys = append(keys, key)
		default:
			many = make(map[string]bool, 2*len(keys))
			for _, k := range keys {
				many[k] = true
			}
			many[key], keys = true, nil
		}
		i = c.value(end+1, here, depth)
	}
	return i + 1
}

func (c *checker) array(i int, at *place, depth int) int {
	here := &place{up: at}
	for ; c.b[i] != ']'; here.index++ {
		if c.b[i] == ',' {
			i++
		}
		i = c.value(i, here, depth)
	}
	return i + 1
}

// skip returns where the value that starts at i ends.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
	default:
		for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
			i++
		}
		return i
	}
}

func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "" // quoted is a valid JSON string
	}
	return s
}

// unquoted is unquote without a copy where none is needed.
func unquoted(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	return []byte(unquote(quoted))
}

// kind names the value's type as errors do.
func (v value) kind() string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// fields calls fn for each member of an object whose value is not null. The key
// is its text, which may alias v.
func (v value) fields(fn func(key []byte, member value)) {
	for i := 1; v[i] != '}'; {
		if v[i] == ',' {
			i++
		}
		end := skip(v, i)
		key := v[i:end]
		i = skip(v, end+1)
		if member := v[end+1 : i]; member[0] != 'n' {
			fn(unquoted(key), member)
		}
	}
}

// items returns an array's values.
func (v value) items() []value {
	var list []value
	for i := 1; v[i] != ']'; {
		if v[i] == ',' {
			i++
		}
		end := skip(v, i)
		list = append(list, v[i:end])
		i = end
	}
	return list
}

// want notes a problem unless v has the type that opens with one of the bytes
// of open; name is that type's name.
func (v value) want(open, name, pointer string, p *Problems) bool {
	if strings.IndexByte(open, v[0]) >= 0 {
		return true
	}
	p.Add(pointer, fmt.Sprintf("must be %s, not %s", name, v.kind()))
	return false
}

func (v value) object(pointer string, p *Problems) bool {
	return v.want("{", "an object", pointer, p)
}

// text returns a string's text; ok is false (and a problem noted) for another
// type or for one that is not min to limit characters long.
func (v value) text(pointer string, minimum, limit int, p *Problems) (s string, ok bool) {
	if !v.want(`"`, "a string", pointer, p) {
		return "", false
	}
	s = unquote(v)
	n := len(s)
	if n > limit {
		n = utf8.RuneCountInString(s)
	}
	if n < minimum || n > limit {
		p.Add(pointer, fmt.Sprintf("must have %d to %d characters, not %d", minimum, limit, n))
		return "", false
	}
	return s, true
}

// isText reports whether text would return one.
func (v value) isText(minimum, limit int) bool {
	if v[0] != '"' {
		return false
	}
	s := unquoted(v)
	n := len(s)
	if n > limit {
		n = utf8.RuneCount(s)
	}
	return n >= minimum && n <= limit
}

func (v value) number(pointer string, low, high float64, p *Problems) float64 {
	if !v.want("-0123456789", "a number", pointer, p) {
		return 0
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < low || f > high {
		p.Add(pointer, fmt.Sprintf("must lie between %g and %g", low, high))
		return 0
	}
	return f
}

func (v value) boolean(pointer string, p *Problems) bool {
	return v.want("tf", "a boolean", pointer, p) && v[0] == 't'
}

// escapePointer makes a reference token of a key (RFC 6901, section 3).
func escapePointer(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
