// Package chat is Parley's domain: user messages, bot messages, conversations,
// channels, endpoints, bots and their ids, with the rules that make them valid.
//
// It knows nothing of brokers, HTTP or storage and imports the standard
// library only. Bad input comes back as a [ValidationError], whose problems
// name the place by JSON pointer (RFC 6901) and say what to change.
package chat
