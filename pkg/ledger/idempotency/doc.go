// Package idempotency remembers in Redis which Idempotency-Keys were used, with
// what body, and whether the request under a key is under way or done.
//
// A key is claimed by [Store.Begin], and settled by [Store.Finish] (it counts
// as done for a day) or [Store.Release] (the request failed: the key is free).
// A claim whose process died frees itself after half a minute. The answer
// itself is not stored: it is a function of the request, because the message's
// id is a hash of channel, conversation and key.
//
// All of it may be lost. When Redis fails, every method returns
// [ErrUnavailable], for a second at a time without asking Redis again, so that
// a dead Redis does not slow down each request; the caller then goes on without.
// Each script touches one key, so Redis Cluster works.
package idempotency
