// Package botworker is the bot stage: it runs the bot on each user message and
// publishes what the bot says, in order.
//
// A turn is: load the session, run the bot, number its messages, save the
// session with them in its outbox, publish them, settle. The save is
// conditional on the session's last revision: it is the fence against a former
// owner of the conversation. A user message that comes again after the save
// finds itself in the session and has the outbox published again, the same
// messages with the same ids; it never runs the bot twice.
//
// A session's record that can't be read is replaced: the conversation begins
// anew, in a higher epoch and without its variables, which is logged as an error
// and counted. The user message is not at fault, and every later one of the
// conversation would meet the same record, so giving messages up would lose them
// all. (Should the lost record have been this message's own turn, it is
// answered once more.)
//
// What the broker refuses stalls the conversation and counts no attempt; what
// the bot fails at is retried by the bot's schedule. Once that is used up the
// turn ends with the bot's fallback message, as failed; without one it becomes a
// dead letter.
package botworker
