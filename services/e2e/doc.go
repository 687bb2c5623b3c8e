// Package e2e boots the real binary and treats it as its users do: it
// configures it with its own commands, posts user messages, and is the
// customer's endpoint that bot messages arrive at.
//
// What boots it is here; the tests are in packages by subject, which run beside
// each other: bots, contract, load, operating, stores, workers, and others.
//
// A test starts a [System] of one of the [Topologies], registers a [Customer]
// at it, sends, and waits for what must arrive; it knows no package of the
// pipeline. Processes are killed and restarted by their ids. When a test fails,
// the end of every process's log stands in the test's.
package e2e
