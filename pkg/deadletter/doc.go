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
package deadletter
