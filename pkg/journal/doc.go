// Package journal records turns and delivery attempts in the stream JOURNAL,
// for those who ask later what became of a message.
//
// It is a record, not a part of the pipeline: [Writer] never blocks and never
// fails its caller. What doesn't fit its queue is dropped, what the broker
// refuses is lost; both are counted in parley_journal_entries_total, and
// nothing else depends on them. The stream forgets by age and by size.
//
// Entries of one conversation written by one Writer are stored in the order in
// which they were given.
package journal
