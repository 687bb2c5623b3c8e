// Package wire turns the domain's types into what is stored, and back:
// protobuf, by proto/parley/v1, which nothing else imports.
//
// A round trip keeps every field, with these bounds: times are kept to the
// millisecond and come back in UTC (the zero time stays zero, and so the very
// millisecond of the Unix epoch becomes it), an attempt's and a turn's duration
// to the microsecond, and an empty slice or map comes back nil. Strings must be
// UTF-8.
//
// Byte slices of what Decode returns (inputs, messages, session data) may alias
// the decoded buffer: its owner must not write to it afterwards, and who keeps
// a small part for long should copy it.
//
// What can't be decoded (broken bytes, an unknown kind of input or stage, a
// message without an id, a channel or a conversation) comes back as an error
// that wraps [ErrUndecodable]: it will fail the same way each time, so the
// caller makes it a dead letter. Encoding refuses the same things, so that
// none of them is stored in the first place. What a newer Parley wrote in a form
// that must not be misread wraps [ErrNewer] as well: who would give a message up,
// or put another record in its place, leaves it to that one.
package wire
