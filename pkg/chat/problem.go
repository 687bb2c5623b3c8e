package chat

import "strings"

// Problem is one thing that is wrong with an input: where (JSON pointer,
// RFC 6901; empty for the whole) and what to change.
type Problem struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// ValidationError is everything that is wrong with an input.
type ValidationError struct {
	Problems []Problem
}

// Error joins the problems.
func (e *ValidationError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Detail
		if p.Pointer != "" {
			parts[i] = p.Pointer + ": " + p.Detail
		}
	}
	return strings.Join(parts, "; ")
}

// Problems collects what is wrong; its zero value is ready.
type Problems struct{ list []Problem }

// Add notes a problem.
func (p *Problems) Add(pointer, detail string) {
	p.list = append(p.list, Problem{Pointer: pointer, Detail: detail})
}

// Err returns nil if nothing was noted, else a *ValidationError.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &ValidationError{Problems: p.list}
}
