// Package problem is how Parley's HTTP APIs say no: application/problem+json
// (RFC 9457) with type, title, status, detail and, for a bad body, a list of
// places with what to change there.
//
// A [Problem] is an error: handlers return it, and [Handler] writes it. What
// is not a Problem becomes one: a *chat.ValidationError a 422, echo's own
// errors (404, 405, 413, 415) their status, everything else a 500 whose cause
// is logged and not shown.
package problem
