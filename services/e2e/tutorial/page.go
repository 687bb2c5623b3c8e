package tutorial

import (
	"fmt"
	"regexp"
	"strings"
)

// block is a code block of the page.
type block struct {
	line     int // of the page
	language string
	file     string // what it is saved as
	terminal string // where it runs, or is printed
	wait     bool
	text     string
}

// read returns the page's code blocks, and refuses what the test would not run.
func read(page string) ([]block, error) {
	var blocks []block
	var b *block
	for i, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && b == nil:
			var err error
			if b, err = parse(info); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			b.line = i + 1
		case fence:
			blocks = append(blocks, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		}
	}
	if b != nil {
		return nil, fmt.Errorf("line %d: the block has no end", b.line)
	}
	return blocks, nil
}

func parse(info string) (*block, error) {
	language, rest, _ := strings.Cut(info, " ")
	b := &block{language: language}
	for word := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "wait":
			b.wait = true
		case "terminal":
			b.terminal = value
		case "file":
			b.file = value
		default:
			return nil, fmt.Errorf("a block can't be %q", word)
		}
	}
	switch language {
	case "sh", "text", "console":
		return b, nil
	}
	if b.file == "" {
		return nil, fmt.Errorf("a block of %q is neither run, nor printed, nor a file", language)
	}
	return b, nil
}

// masks are what differs from run to run: identifiers, times and durations, and how
// wide a column is for them.
var masks = []struct {
	pattern *regexp.Regexp
	mask    string
}{
	{regexp.MustCompile(`\b(msg|rpl|pat|whsec)_(…|[\w+/=-]+)`), "${1}_*"},
	{regexp.MustCompile(`\b(user|bot)\.(\w+)\.(…|[0-9a-f]{32})`), "$1.$2.*"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?`), "TIME"},
	{regexp.MustCompile(`\+?\b(\d+(\.\d+)?(µs|ms|s|m))+\b`), "DURATION"},
	{regexp.MustCompile(`(?m)[ \t]+`), " "},
	{regexp.MustCompile(`(?m)^ | $`), ""},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.mask)
	}
	return strings.TrimSpace(text) + "\n"
}

// expect makes of an output block what matches such output, masked, from its
// beginning. An … stands for anything in a line, and for any lines where it is alone.
func expect(output string) *regexp.Regexp {
	var b strings.Builder
	for line := range strings.Lines(masked(output)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	return regexp.MustCompile(`\A` + b.String())
}
