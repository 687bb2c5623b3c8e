// Package registry keeps what the operator configures: channels, endpoints,
// bots and access tokens.
//
// All of it is in one JetStream bucket, so that one number, the bucket's
// revision, orders every change. Each process watches the bucket and reads an
// immutable [Snapshot] in memory; a message carries the revision that it was
// accepted under, and a worker that is behind calls [Registry.WaitRevision].
//
// Invariants:
//   - A snapshot is the whole configuration at its revision, never a mixture.
//   - A write is judged against the latest revision and stored only if nothing
//     else was written since, so references hold (a channel's bot exists, an
//     endpoint's channel exists) with any number of processes writing.
//   - Verify tokens, signing secrets and keys, credentials and the values of an
//     endpoint's own headers are stored sealed; of an access token only its hash
//     is stored.
//
// When the broker fails, the last snapshot stays in use, [Registry.Ready] says
// why, and the watch goes on from the snapshot's revision as soon as it can. A
// record that can't be read (sealed with another key, or of a newer version)
// keeps its former value, is logged, and is named by Ready.
package registry
