// Package deadletter keeps the messages that the pipeline gave up on, with
// their history, in the stream DEAD.
//
// There is at most one dead letter of a message at a destination: [Store.Write]
// stores only where there is none, so that a repeat after a crash changes
// nothing. A letter is kept until it is deleted or the stream's age limit takes
// it; the stream refuses when it is full, and then the message has to stay
// where it is.
//
// A letter is named by its message's id, which is a token of a subject: a
// message that can't be decoded has none, and is given one by who writes the
// letter, such as "seq-bot-3-17" (stage, partition, sequence).
//
// [Store.List] finds the newest letters without counting or reading all, since
// there may be a million; what a filter of reason or status matches rarely it
// looks for in parts. [Store.Scan] reads them all, oldest first. Either, and
// [Store.Count], has what the stream's leader has, wherever it reads.
package deadletter
