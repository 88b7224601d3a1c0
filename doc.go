// Package parti divides partitions among a fleet of workers over NATS.
//
// Each process makes a [Manager] with [NewManager] and calls [Manager.Start]. The
// manager claims a stable worker id ("worker-0", "worker-1", …), joins the fleet,
// and from then on owns a part of the partitions that a [PartitionSource] lists.
// One of the workers, the leader, divides them with an [AssignmentStrategy],
// watches who is alive, and moves as few of them as it can when workers come, go
// or crash. What a worker owns is told to it by [Hooks].OnAssignmentChanged, to
// its consumers by a [WorkerConsumerUpdater], such as one that keeps JetStream
// consumers, and to anybody who asks by [Manager.Owns].
//
// # What is guaranteed
//
//   - A partition is granted to one worker at a time. A worker that gives one
//     up finishes what runs, and has its updater and its hook return, before the
//     next owner is told; bounded by Config.HandoffTimeout.
//   - Every grant carries a [Token] that is greater than all earlier ones of the
//     same partition, over leaders, restarts and lost state.
//   - The writes of a leader that has been replaced have no effect, however late
//     they arrive.
//   - Hooks for assignments run in order, with exact differences.
//   - Nothing moves when nothing changed: not when the leader changes, not when
//     a worker restarts within the grace it has.
//
// # What is not
//
// With [OwnershipAvailable], the default, a worker that is cut off from NATS goes
// on with what it has, while the others, who must take it for dead, may be
// granted the same: two may then work on one partition. With
// [OwnershipExclusive] the cut-off worker stops in time, by its own clock. In
// neither mode can this package undo an effect outside of NATS, such as a write
// to a database that was on its way when the grant ended: only a store that
// compares tokens refuses it. Clocks that run apart by more than 1 %, a pause of
// the whole host that its guests cannot see, and acknowledged writes that a NATS
// server loses are outside of what is promised.
//
// # Goroutines
//
// One goroutine owns the state of a worker, one follows the connection, and each
// watch of a bucket has what nats.go needs for it; others exist while they have
// something to do. None is left after Stop, but one that is inside a hook that
// ignores the end of its context.
package parti
