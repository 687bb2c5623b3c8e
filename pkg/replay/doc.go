// Package replay sends again what has died, or ends it, as jobs in the
// background.
//
// A [Job] says which dead letters are meant and how far it has come; it stands in a
// bucket, so that any process can run it: one does at a time, which renews its claim,
// and another takes over what is not renewed. The work left to do is what is still
// there: a letter is removed once it is stored for the pipeline again, so a job that
// goes on looks for what its filter finds, up to the last letter that there was when
// it was made. What dies again is behind that.
//
// A process that is killed between the two stores a message twice. Each is stored
// with its place in the replay, in order within its lane, by which the lane knows the
// second one: see lane.Replay.
package replay
