// Package webhook sends bot messages to customers' endpoints: it renders the
// body, signs it (Standard Webhooks), refuses addresses that an endpoint must
// not reach, and makes one POST with a clear result.
//
// Invariants:
//
//   - One call of [Client.Do] is at most one POST as the endpoint sees it.
//     Nothing is followed (redirects), and nothing that may have reached the
//     endpoint is repeated: repeating is the engine's decision. See [Client]
//     for what is sent again because nothing of it had left, and for what
//     net/http would do by itself and how it is kept from it.
//   - Every address is checked when it is dialled, after the name was resolved,
//     whatever was checked when the URL was set; so a name that changes its
//     address gains nothing.
//   - A call lasts no longer than its time-out and reads a bounded answer.
//   - The body of a message has the same bytes on every attempt.
//   - No secret and no URL appears in an error or a result.
//   - A connection that was opened with an endpoint's own certificate or
//     authorities ([Profile]) serves no other endpoint. Requests for a token go
//     where the attempt goes: behind the same guard.
//
// On failure [Result].Err is a [*Failure], whose Kind is a bounded label and
// whose text says which time-out fired or what broke. An answer's status, once
// read, stands: an answer that breaks off behind its header fields is no
// failure of the attempt, since the endpoint has said what it decided.
package webhook
