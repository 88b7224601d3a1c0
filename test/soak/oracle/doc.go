// Package oracle judges what a fleet did from the histories that its processes
// recorded: whether every message was handled, once and in order, by who owned
// its partition at that time, and how long partitions rested when they moved.
//
// It is pure: records in, a [Verdict] out.
package oracle
