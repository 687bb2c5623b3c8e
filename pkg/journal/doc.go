// Package journal records turns and delivery attempts in the stream JOURNAL,
// for those who ask later what became of a message.
//
// It is a record, not a part of the pipeline: [Writer] never blocks and never
// fails its caller. What doesn't fit its queue is dropped, what the broker
// refuses is lost; both are counted in parley_journal_entries_total, and
// nothing else depends on them. The stream forgets by age and by size.
//
// Entries are written in groups, each with one confirmation by the broker: an
// entry counts as written when all of its group is known to be stored, else the
// whole group as failed.
//
// The entries of one Writer are stored in the order in which they were given.
package journal
