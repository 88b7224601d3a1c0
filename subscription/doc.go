// Package subscription consumes from JetStream exactly the partitions that a
// worker owns. Give a [DurableHelper] to a manager with
// parti.WithWorkerConsumerUpdater and its handler gets the messages of the
// worker's partitions, and no others.
//
// # Guarantees
//
// Each partition has a durable consumer of its own whose filter never changes.
// To own a partition is to pull from its durable, and what its last owner
// acknowledged is where the next one goes on, on limits, interest and work-queue
// streams alike. Hence, with messages handled in order (the default):
//
//   - A partition's messages are completed one at a time, in the order of the
//     stream. A message whose handler fails is tried again in place; what comes
//     after it waits, other partitions do not.
//   - A planned move loses, skips and doubles nothing: the message in hand is
//     finished and the answer to its acknowledgement awaited before the
//     partition is let go, and what was fetched and not begun is handed back.
//   - After a crash, or when a handler outlasts DurableConfig.HandoffTimeout, the
//     next owner begins at the first message that was not acknowledged. At most
//     the message in hand, and those whose acknowledgement the server did not
//     get, are handled twice.
//   - A message that fails DurableConfig.MaxDeliver times goes to
//     DurableConfig.DeadLetterSubject, or is terminated and counted. A message at
//     which owners die counts one failure for each.
//   - With parti.OwnershipExclusive nothing is begun or acknowledged from the end
//     of the worker's lease on, by its own clock.
//   - A handler that panics has failed; one that hangs is reported and blocks its
//     own partition only.
//
// With DurableConfig.Unordered messages of a partition are handled side by side
// and a failed one comes again later; nothing is promised about their order, the
// rest holds.
//
// # Not guaranteed
//
// Exactly-once effects: a worker that dies between an effect and its
// acknowledgement leaves a message that is handled again. On interest streams,
// messages published before the durable of their partition existed are not
// retained by the server; the leader makes durables when a partition is listed.
// Reset to the ack floor needs a server of 2.14 or later; with older ones a
// partition with unacknowledged messages rests until DurableConfig.AckWait has
// returned them.
//
// All this is said of the layout [PerPartition]. [PerWorker], on work queues,
// guarantees the same, but its partitions pause together and can hold each other
// back.
package subscription
