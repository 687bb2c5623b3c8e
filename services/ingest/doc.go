// Package ingest is the service that takes messages in: it authenticates,
// validates, makes sure that a repeat counts once, publishes, and answers when
// the broker has confirmed.
//
// What is answered 202 is stored. When the broker is full, gone or slow the
// answer is 503 with Retry-After, and the message may or may not be stored: the
// client sends it again, with an Idempotency-Key if a second copy would harm.
//
// Four forms come in: a message, a batch of messages (NDJSON on the same path),
// the legacy form, and actions on a conversation. All become a [chat.UserMessage]
// in accept.go. Every refusal is a problem (RFC 9457): 400 for what is not
// JSON, 422 for JSON that breaks a rule. Who has no valid token learns nothing
// of what exists.
//
// Without the store of idempotency keys the service goes on: the message's id
// is the same for the same key, and the broker drops a repeat that comes within
// its duplicate window.
package ingest
