// Package ledger remembers how far each lane of the delivery stage is settled,
// so that a redelivery inside Parley never becomes a second POST.
//
// A lane is worked in order, so one small mark a lane decides for every
// redelivery: it is as large as the number of live lanes, not of messages. The
// mark is a cache of decisions: when the ledger is lost or fails, the pipeline
// goes on, at least once instead of once. A mark only moves forward, in the
// sense of [Advance]; it is forgotten a week after it last moved.
//
// [Redis] is for many machines: a script a lane compares and sets, so that a
// process that was late moves nothing back. Concurrent calls travel together in
// pipelines. When Redis is gone, a call fails within its time-out and those
// after it at once, until one call a fifth of a second finds that Redis is back;
// an emptied Redis is a ledger without marks.
//
// [Bucket] is for one process (serve without Redis): it compares in memory what
// it read or wrote last, and reads a lane that it doesn't remember. Two
// processes on one bucket could move marks back.
package ledger
