// Package tracing tests, with the real binary, what leaves it for those who watch:
// one trace from a user's message to each attempt, and a log without a secret or a
// word of what was said.
package tracing
