// Package natskv turns NATS JetStream into keys with compare-and-swap. It is the
// only package that knows subjects, headers and error codes; above it there are
// buckets by number, keys, values, revisions and a few kinds of errors.
//
// A bucket is a stream in the shape of a NATS KV bucket, so that the tools and
// clients of NATS read it. A revision is the sequence of the stream.
//
// # Guarantees
//
//   - Create, Update and Delete are compare-and-swap on the stream: of any
//     number of writers against the same revision at most one succeeds.
//   - An operation sends one message, and nothing is retried. Only a Create
//     that meets something reads it, to tell a deleted key (whose marker is then
//     written over, by revision) from a live one: two or three messages.
//   - The kind of an error says what became of a write: [ErrConflict],
//     [ErrDown] and [ErrRefused] mean that it was not done, [ErrAmbiguous] that
//     nobody knows.
//   - Get asks the leader of the stream, never a replica.
//   - Nothing is sent while the connection is known to be down, so that nothing
//     waits in the buffer of the client to be replayed later. What was sent when
//     the connection broke ends at once, as ErrAmbiguous.
//   - A watch delivers in the order of revisions, without gaps, and starts with
//     the present values. The first Synced event comes only after every key
//     that existed when the watch began has been delivered, with a value that
//     it had then or later, however many writers there are.
//   - When that cannot be kept up (a message missed, silence, a deleted
//     consumer, a reconnect) a watch says so once, with Lost, and ends.
//   - Open creates only what is absent, and nothing at all unless every bucket
//     that exists can serve.
//
// # Not guaranteed
//
//   - A read is not linearizable: a leader just deposed may still answer. Only
//     a write that succeeded proves what it compared with.
//   - A watch may leave out values that were overwritten before they were sent.
//     Later Synced events repeat what NATS says about waiting messages, which
//     under concurrent writes can be early by a message or, until the stream
//     falls quiet, late.
//   - Revisions can go back when a server loses data, and restart when a bucket
//     is deleted and made again: compare [Store.Created] after [Store.Rebind].
//   - A delete marker, and with it the last trace of a key, disappears after a
//     minute on servers from 2.11 on. On older ones it stays.
//   - Delivery to a watch is as late as the server notices: a consumer that was
//     deleted behind our back is found by two missing heartbeats, ten seconds.
package natskv
