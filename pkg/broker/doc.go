// Package broker is the way to NATS: an embedded server on disk, a connection
// to it or to one outside, and publishing with awaited acknowledgement.
//
// A publish has happened when [Conn.Publish] returns without error: the
// message is stored (and fsynced, where the server runs with sync always). Its
// errors are of three kinds: [ErrConflict] (the condition is false: do not
// repeat), [ErrFull] and [ErrUnavailable] (nothing is known to be stored:
// answer 503, or try again).
package broker
