package flow

import (
	"fmt"
	"strings"
)

// maxProblems is how many problems Parse reports.
const maxProblems = 100

// Problem is one thing in a file that is wrong (or, as a warning, doubtful):
// where, counted from 1, and what to change.
type Problem struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Detail string `json:"detail"`
}

// String returns "line:column: detail".
func (p Problem) String() string { return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Detail) }

// ParseError is everything that is wrong with a file.
type ParseError struct {
	Name     string
	Problems []Problem
}

// Error has a line "name:line:column: detail" for each problem.
func (e *ParseError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = e.Name + ":" + p.String()
	}
	return strings.Join(lines, "\n")
}
