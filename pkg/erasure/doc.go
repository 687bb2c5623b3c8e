// Package erasure removes a conversation: what waits of it, its session, its dead
// letters and its journal.
//
// The owners of its lanes do their part, told by commands; nothing is taken from
// behind their backs. First the bot stage: when its owner has ended what waits
// and put a place in the session's place, no turn of the former conversation is
// made any more, and none of its bot messages is to come. Then the delivery
// stage, whose owners end what waits for endpoints. Each has its journal written
// before it says that it is done, so that the journal, which goes last, gets
// nothing more.
//
// So what was accepted before the call is gone when an erasure is complete. Where
// an owner doesn't answer in time, its command stands until it does, the rest is
// erased, and what is left is said: erasing again is safe, and finishes it. A
// message that comes while it runs begins a new conversation, in a session of a
// higher epoch; but where its turn is made before the owner comes to the command, it
// is one of the former conversation, and what was said in it goes too.
//
// What stays names nobody: the place in the session's record (epoch, counter, the
// last input's place and id), as long as a session is kept, and the marks of the
// lanes. Not found, and kept, are dead letters of messages that can't be decoded,
// operational events that were raised about the conversation, and what logs and
// endpoints have. A session's flag that its bot is paused goes with it.
package erasure
