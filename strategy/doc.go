// Package strategy divides partitions among workers.
//
// [ConsistentHash] is for work with state or caches: a partition stays where it
// is unless the load would be uneven. [RoundRobin] gives every worker the same
// number of partitions, give or take one, with the fewest moves. [Sticky] makes
// any other strategy move little.
//
// All of them are deterministic: the same workers, partitions and previous
// owners, in whatever order, give equal results, lists included, on every
// machine. A weight of zero counts as [parti.DefaultWeight]. Every worker
// that was passed has an entry in the result, and the partitions in it are the
// caller's, keys shared.
//
// They may be used from several goroutines.
package strategy
