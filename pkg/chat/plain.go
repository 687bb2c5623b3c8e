package chat

import (
	"bytes"
	"unicode/utf8"
)

// plain checks a body as parse does, in one pass, and returns its object. It
// knows only what is common: ok is false for all else, valid or not, which
// parse then looks at again to say what is wrong. The value may alias the body.
func plain(body []byte) (v value, ok bool) {
	s := scanner{b: body}
	i := s.space(0)
	if i = s.value(i, 0); s.failed || s.space(i) != len(body) || !utf8.Valid(body) {
		return nil, false
	}
	if s.spaces == 0 {
		return value(body), true
	}
	return compact(body, len(body)-s.spaces), true
}

// compact leaves out the white space of valid JSON.
func compact(body []byte, size int) value {
	out := make([]byte, 0, size)
	for i := 0; i < len(body); {
		switch body[i] {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end := skipString(body, i)
			out = append(out, body[i:end]...)
			i = end
		default:
			out = append(out, body[i])
			i++
		}
	}
	return out
}

// scanner reads JSON; failed says that it stopped.
type scanner struct {
	b      []byte
	spaces int
	failed bool
}

func (s *scanner) fail() int {
	s.failed = true
	return len(s.b)
}

// at returns the byte at i, 0 at the end: no JSON outside strings has it.
func (s *scanner) at(i int) byte {
	if i < len(s.b) {
		return s.b[i]
	}
	return 0
}

func (s *scanner) space(i int) int {
	for i < len(s.b) && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\r' || s.b[i] == '\t') {
		i++
		s.spaces++
	}
	return i
}

// value reads the value that starts at i and returns where it ends.
func (s *scanner) value(i, depth int) int {
	switch c := s.at(i); c {
	case '{', '[':
		if depth == MaxDepth {
			return s.fail()
		}
		if c == '{' {
			return s.object(i+1, depth+1)
		}
		return s.array(i+1, depth+1)
	case '"':
		return s.text(i)
	case 't':
		return s.word(i, "true")
	case 'f':
		return s.word(i, "false")
	case 'n':
		return s.word(i, "null")
	default:
		return s.number(i)
	}
}

// object reads an object of at most 16 keys, none of them escaped.
func (s *scanner) object(i, depth int) int {
	var keys [16]struct{ from, to int }
	i = s.space(i)
	if s.at(i) == '}' {
		return i + 1
	}
	for n := range keys {
		if s.at(i) != '"' {
			return s.fail()
		}
		end := s.text(i)
		if s.failed {
			return end
		}
		key := s.b[i:end]
		for _, k := range keys[:n] {
			if string(s.b[k.from:k.to]) == string(key) {
				return s.fail()
			}
		}
		if bytes.IndexByte(key, '\\') >= 0 {
			return s.fail()
		}
		keys[n].from, keys[n].to = i, end
		if i = s.space(end); s.at(i) != ':' {
			return s.fail()
		}
		i = s.space(s.value(s.space(i+1), depth))
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1
		default:
			return s.fail()
		}
	}
	return s.fail()
}

func (s *scanner) array(i, depth int) int {
	i = s.space(i)
	if s.at(i) == ']' {
		return i + 1
	}
	for {
		i = s.space(s.value(i, depth))
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1
		default:
			return s.fail()
		}
	}
}

func (s *scanner) word(i int, word string) int {
	if end := i + len(word); end <= len(s.b) && string(s.b[i:end]) == word {
		return end
	}
	return s.fail()
}

func (s *scanner) text(i int) int {
	for i++; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return s.fail()
		case c == '\\':
			i++
			switch s.at(i) {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; !hexDigit(s.at(i)) {
						return s.fail()
					}
				}
			default:
				return s.fail()
			}
		}
	}
	return s.fail()
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) number(i int) int {
	if s.at(i) == '-' {
		i++
	}
	if s.at(i) == '0' {
		i++
	} else if i = s.digits(i); s.failed {
		return i
	}
	if s.at(i) == '.' {
		i = s.digits(i + 1)
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		i = s.digits(i)
	}
	return i
}

// digits reads at least one.
func (s *scanner) digits(i int) int {
	if c := s.at(i); c < '0' || c > '9' {
		return s.fail()
	}
	for c := s.at(i); c >= '0' && c <= '9'; c = s.at(i) {
		i++
	}
	return i
}
