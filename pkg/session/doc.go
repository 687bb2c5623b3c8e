// Package session keeps each conversation's record at the bot stage: one
// message a conversation in the stream SESSIONS, the last one counts.
//
// The record is the fence of the bot stage. Its revision is its sequence in
// the stream, and [Store.Save] stores only over the revision that the caller
// has read: of two owners of a partition, one of whom doesn't know yet that it
// isn't, one is refused with broker.ErrConflict. That refusal means fenced, or
// expired in the meantime: read again (reads are answered by the stream's
// leader), check the lease, and then stop or decide anew. After
// broker.ErrUnavailable the record may or may not be stored: Load says which.
//
// Records live as long as the stream's age limit says since the last Save. An
// expired, purged or deleted record is none: it reads as nil with revision 0,
// and the server takes 0 as the expected revision of the next Save (never the
// sequence that the lost record had).
//
// The record of a conversation that was erased stays, without what was said
// ([chat.Session.Erase]): the next session begins above its epoch, and inputs that
// come again are known as settled.
package session
