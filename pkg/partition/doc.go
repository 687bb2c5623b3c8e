// Package partition says who works on what: a partition of a stage has one
// owner at a time.
//
// An [Owner] hands partitions out as leases and takes them back. The lease's
// epoch rises with every change of owner, so that whatever an owner makes (a
// consumer's name, say) can be told from what its predecessors made. A holder
// works only while the lease's context lives and, for what reaches the outside,
// only until its deadline.
//
// [Sole] owns a stage that one process works alone. [Shared] is for any number
// of workers, which come, go, crash and hang as they like:
//
//   - A worker announces itself by a key with an age (the TTL) in
//     topology.BucketMembers and renews it. Each stay has a key of its own, so
//     a key that has gone never comes back.
//   - Rendezvous hashing over the live workers, bounded so that their loads
//     differ by one at most, says who should own what: see Assign. It is the
//     same answer wherever it is computed, and taken after the changes have
//     settled.
//   - A lease in topology.BucketLeases says who does: each change of it is
//     conditional on its last revision. It names the key that keeps its holder
//     alive, and is free when it was released or when that key has gone.
//
// What happens on failure:
//
//   - A worker that crashes is gone when its key has expired, at most TTL and
//     0.2 s after its last renewal; its leases are then taken by the others.
//   - A worker that can't renew ends what it holds with [ErrLapsed] when, by its
//     own clock, TTL minus a margin has passed since it sent the last renewal
//     that was confirmed: before its key can expire. It goes on trying to
//     come back, without limit, and owns again what it is given then. The
//     same holds for a process that was stopped and goes on.
//   - A lease that another has taken ends with ErrLapsed too.
//
// A lease also remembers crashes, so that a message that kills its worker again
// and again can be found: see [Lease].
package partition
