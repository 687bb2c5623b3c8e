// Package faults is the proof of Parley's promises under faults, in the spirit
// of Jepsen: real processes on a cluster of NATS servers and a Redis, faults
// from a seeded schedule, and a checker that judges what was seen.
//
// A run has three parts that know nothing of each other. [Schedule] makes of a
// seed what is to fail when. A run carries it out on a live system while many
// conversations talk, and writes down a [History]: what was accepted, what the
// endpoints saw and answered, what was done to whom. [Check] judges the history:
// it knows no process and no clock, and its own tests show that it refuses every
// kind of bad history.
//
// What must hold, and is judged for each conversation:
//
//   - what was answered 202 arrives and is confirmed (lost: 0);
//   - a message is first posted after the one before it was confirmed, in the
//     order of the counters (out of order: 0), and the counters of an epoch have
//     no gap;
//   - a confirmed message is posted again only if it was in flight when a
//     delivery worker was killed or stopped, or in runs that take Redis away;
//   - what was sent once is answered once; a send whose answer was lost may have
//     been stored more than once;
//   - dead letters are where the endpoint always fails, all of them, and nowhere
//     else.
package faults
