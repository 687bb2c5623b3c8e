// Package health says how a destination does: whether to try it at all, how much
// of it at once, and when to give up on it.
//
// A [Circuit] decides whether attempts are made at one destination:
//
//	         10 failures in a row, or half of
//	         20 and more within 30 s failed
//	┌────────┐                       ┌──────┐
//	│ closed │ ────────────────────► │ open │ ◄─────────────┐
//	└────────┘                       └──────┘               │
//	    ▲                                │ cool-down over:  │ it failed: open
//	    │                                │ 1 s, 2 s … 30 s  │ for twice as long
//	    │                                ▼                  │
//	    │      the probe succeeded   ┌───────────┐          │
//	    └─────────────────────────── │ half-open │ ─────────┘
//	                                 └───────────┘
//	                      one caller has the probe; one that is
//	                      interrupted, or doesn't report within
//	                      30 s, goes to the next caller
//
// What was admitted before a circuit opened or closed changes nothing when it is
// reported afterwards, so 50 attempts that time out together open it once.
//
// A [Board] is the circuits of one process, which open and close with those of all
// others: what is decided by one attempt anywhere is known everywhere some
// milliseconds later. Of each destination that has failed the processes share one
// [Record] in a [Store], watched by all and written on transitions alone. Each
// write expects the last revision, so that of all processes one has the probe, for
// 30 s at most.
//
//   - The later of two transitions counts, whoever made it. A clock that is ahead
//     can't shut a circuit for longer than half a minute.
//   - A store that is away, or doesn't answer, costs one caller a second and nobody
//     anything after that: each process goes by its own circuit, and what happened
//     meanwhile is written when the store is back.
//   - Since when a destination has done nothing but fail outlives every process, and
//     a success anywhere ends it.
//   - One process that reaches nobody opens the circuits of all; the others' probes
//     close them again.
//
// [Bucket] is the Store in JetStream, not in Redis: it outlives a restart of
// either, is there where no Redis is, and has watches and conditional writes.
//
// A [Limit] is how many attempts may be in flight from this process, found by
// trial between bounds. [Failing] decides when a destination that does nothing
// but fail is to be disabled.
//
// Circuit, Limit and Failing are pure: time is an argument, chance an option, and
// nothing waits.
package health
