// Package ops is the API for operators, /ops/v1: channels, endpoints, bots,
// access tokens, status, dead letters and the audit. docs/api/ops.yaml describes it.
//
// It holds no state: configuration goes to pkg/registry, whose rules it
// passes on as problems (RFC 9457), and what waits is read from the streams.
// Each request needs a bearer token with the ops scope. Secrets are shown only
// in the answer that made them.
//
// A write answers with the object, its revision and an ETag; with If-Match it
// happens only if nobody was quicker (else 412). When the broker fails, writes
// and status answer 503 with Retry-After, and reads of the configuration go on
// from the last snapshot.
//
// What changes something is recorded in the audit before it is answered; a new
// route that does needs a name in actions.
package ops
