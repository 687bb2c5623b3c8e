// Package audit records what operators did, in the stream AUDIT: who changed
// what, and when.
//
// An entry is on disk when [Log.Write] returns nil, can't be edited or removed,
// and is forgotten by age (400 days) and by size, the oldest first: recording
// never fails for want of room in the stream. Its time is when it was stored, by
// the broker's clock, so that time and order agree whichever process wrote it.
//
// Stored form: JSON with a version, as of the configuration. No entry holds a
// secret; who writes one sees to that.
package audit
