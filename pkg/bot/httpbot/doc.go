// Package httpbot is the bot that runs elsewhere: each turn is posted to a URL,
// and the answer says what the bot says, what it remembers, and where the
// conversation stands. docs/bots.md describes it for those who write one; the
// schemas are proto/httpbot/v1/request.schema.json and answer.schema.json.
//
// Invariants:
//
//   - A turn is posted as a message to an endpoint is: through a webhook.Client
//     to a webhook.Target, with the same guard, signature, authentication and
//     bounds, and at most once an attempt.
//   - The attempts at a turn have the same webhook-id and, as long as the
//     session doesn't change, the same bytes: so a bot can know a turn again.
//   - What is answered is used as a whole or not at all.
//
// A failure is a *bot.FailedError, whose reason names the field of an answer that
// can't be used.
package httpbot
