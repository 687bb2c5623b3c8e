// Package health says how a destination does: whether to try it at all, how much
// of it at once, and when to give up on it.
//
// A [Circuit] decides whether attempts are made at one destination:
//
//	          10 failures in a row, or half of
//	          20 and more within 30 s failed
//	 ┌────────┐                       ┌──────┐
//	 │ closed │ ────────────────────► │ open │ ◄─────────────┐
//	 └────────┘                       └──────┘               │
//	     ▲                                │ cool-down over:  │ it failed: open
//	     │                                │ 1 s, 2 s … 30 s  │ for twice as long
//	     │                                ▼                  │
//	     │      the probe succeeded   ┌───────────┐          │
//	     └─────────────────────────── │ half-open │ ─────────┘
//	                                  └───────────┘
//	                       one caller has the probe; one that is
//	                       interrupted, or doesn't report within
//	                       30 s, goes to the next caller
//
// What was admitted before a circuit opened or closed changes nothing when it is
// reported afterwards, so 50 attempts that time out together open it once.
//
// A [Limit] is how many attempts may be in flight from this process, found by
// trial between bounds. [Failing] decides when a destination that does nothing
// but fail is to be disabled.
//
// All of it is pure: time is an argument, chance an option, and nothing waits.
package health
