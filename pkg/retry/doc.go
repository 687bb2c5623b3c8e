// Package retry says when to try again: a schedule of delays with jitter, and
// the Retry-After field of an answer.
//
// Everything here is pure: time and chance are arguments. A delay is never
// negative, and never above its schedule's entry plus jitter or the given limit.
package retry
