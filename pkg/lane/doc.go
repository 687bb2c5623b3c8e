// Package lane is the engine of both workers: it takes a stage's partitions,
// keeps each lane in order, parks what has to wait, retries, gives up.
//
// A lane is a FIFO: at the bot stage (user messages) one conversation, at the
// delivery stage (bot messages) one endpoint's part of a conversation. The
// engine holds lanes in memory and the truth in JetStream.
//
// # A lane's life
//
//	          message                    verdict Done, Dead, Expired
//	┌──────┐ ─────────► ┌─────┐ ──────────────────────────────────────► settled,
//	│ idle │            │ hot │   mark, then acknowledge                acknowledged
//	└──────┘ ◄───────── └─────┘
//	    ▲      emptied     │ Retry; it holds the window up; its destination
//	    │                  │ closed, or slow for more than a second
//	    │                  ▼
//	    │              ┌────────┐ ── due: head is read and handled
//	    └───────────── │ parked │
//	      tail settled └────────┘ ◄─ new messages are appended behind
//
// A hot lane's messages stand, unacknowledged, in the partition's work queue. A
// parked lane's stand in the parked stream, in order, with a state record that
// counts the head's attempts and says when it is due. When a lane is parked,
// everything that it has in memory is appended first, the message under way
// included: so a successor that finds a parked lane knows that what the work
// queue redelivers for it is either in the lane already or belongs behind it.
//
// # Invariants
//
//   - One goroutine at a time is at a lane's head, one appends at its tail, and
//     each waits for the broker's answer before its next step.
//   - A message is acknowledged after each of its lanes has settled it (the
//     mark is stored) or appended it to the parked stream.
//   - A message that a lane's mark covers is not handled again.
//   - The window of a partition (256 messages) stays open: a lane that holds a quarter
//     of a full window is parked, and when it stands still all that hold it up.
//
// # Failure
//
// A crash loses nothing: what was not removed from the work queue comes to the
// next owner, marks and ordinals say what was done. A handler that panics makes a
// dead letter. A broker that refuses an append or a dead letter stalls that
// lane only, until it takes it; what a verdict came to is kept until it is
// stored, also through a hand-over. A gap in the deliveries, or the loss
// of their source, starts the partition anew, from the oldest message that
// remains. docs/lanes.md has all of it.
package lane
