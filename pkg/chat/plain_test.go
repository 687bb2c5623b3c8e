package chat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var bodies = map[string]bool{ // whether plain knows them
	`{"conversationId":"c1","message":{"textMessage":{"text":"Hello"}}}`:                          true,
	"{ \"a\" : [ 1 , -0.5e+3 , true , false , null , \"\\u00e9 \\\" é\" ] ,\r\n\t\"b\" : { } }\n": true,
	"[]":   true,
	" 0 ":  true,
	`"a"`:  true,
	"null": true,
	strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth):     true,
	strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1): false,
	`{"a":1,"b":2,"a":3}`: false,
	`{"a":{"b":1,"b":2}}`: false,
	`{"\u0061":1}`:        false, // valid, but the key is escaped
	`{` + keys(16) + `}`:  true,
	`{` + keys(17) + `}`:  false, // valid, but long
	"":                    false,
	" ":                   false,
	"{}{}":                false,
	"{} x":                false,
	`{"a":1,}`:            false,
	`{"a":1 "b":2}`:       false,
	`{"a" 1}`:             false,
	`{,}`:                 false,
	`{1:1}`:               false,
	`{"a":}`:              false,
	"[1,]":                false,
	"[1 2]":               false,
	"[":                   false,
	"{":                   false,
	`{"a`:                 false,
	`{"a":1`:              false,
	`"\`:                  false,
	`"\x"`:                false,
	`"\u12g4"`:            false,
	`"\u12`:               false,
	"\"\x01\"":            false,
	"\"\xff\"":            false,
	"\"a\x00\"":           false,
	"tru":                 false,
	"nulll":               false,
	"01":                  false,
	"-":                   false,
	"1.":                  false,
	"1e":                  false,
	"1e+":                 false,
	".5":                  false,
	"+1":                  false,
	"\ufeff{}":            false,
	"1\x00":               false,
}

func keys(n int) string {
	var list []string
	for i := range n {
		list = append(list, `"`+strings.Repeat("k", i+1)+`":1`)
	}
	return strings.Join(list, ",")
}

func TestPlain(t *testing.T) {
	for body, known := range bodies {
		_, ok := plain([]byte(body))
		require.Equal(t, known, ok, body)
		requireSame(t, []byte(body))
	}
}

// FuzzPlain: what plain takes, parseAny takes, and makes the same of it.
func FuzzPlain(f *testing.F) {
	for body := range bodies {
		f.Add([]byte(body))
	}
	f.Fuzz(requireSame)
}

func requireSame(t *testing.T, body []byte) {
	t.Helper()
	before := string(body)
	got, ok := plain(body)
	require.Equal(t, before, string(body), "the body is not touched")
	if !ok {
		return
	}
	var p Problems
	want := parseAny(body, &p)
	require.NoError(t, p.Err())
	require.Equal(t, string(want), string(got))
}
