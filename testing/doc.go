// Package testing helps to test code that uses parti: an embedded NATS server
// or cluster, virtual time, links that can be cut, conformance checks for
// strategies and election agents, a logger, and a fake manager that needs no NATS at all. Import it
// as partitest.
//
// # Which one to take
//
//   - [NewFake] drives the hooks and the consumer updater of your code with
//     grants, revocations and degraded modes of your choice. No NATS, no waiting.
//   - [Bubble] runs real managers against a real server in virtual time: a cold
//     start of 30 seconds or an outage of 30 minutes takes milliseconds.
//   - [StartEmbeddedNATS] and [StartServer] run a server on a real socket.
//   - [StartEmbeddedNATSCluster] runs several, for replicated buckets.
//   - [CheckStrategy] and [CheckElectionAgent] tell whether a strategy or an
//     election agent of yours keeps its contract.
//
// # Guarantees
//
// Servers listen on loopback only, on a port of their own, keep their data in a
// directory of their own and are stopped, after the connections made here, when
// the test ends. A started server is ready; a started cluster has a leader and
// knows all its nodes. Nothing here sleeps, and nothing is left running:
// goroutine leak checks stay clean.
//
// A [Server.Restart] keeps port and data, as a restarted process would;
// [Server.RestartEmpty] loses the data. Memory streams are lost by both.
//
// # What does not work in a bubble
//
// A bubble ([Bubble]) is one of testing/synctest, with the rules of that package:
// time moves only when every goroutine in it waits for something in it, and all
// must have ended when the test function returns. Beyond that:
//
//   - No sockets: [StartServer] needs [WithoutListener] there (Bubble's own
//     server has it), there are no clusters, and code under test that dials an
//     URL by itself cannot be tested. Give it the *nats.Conn, or pass
//     nats.InProcessServer(server) to nats.Connect.
//   - What was made outside stays outside: no connection, channel or timer from
//     before the bubble may be used in it, nor the other way round.
//   - One bubble runs at a time, and no test that uses NATS outside of a bubble
//     may run in parallel with it: nats.go pools timers for the whole process,
//     and the runtime ends the process when a timer crosses a bubble's border.
//     Bubble empties the pool at both ends; tests that are not parallel are safe.
//   - Streams and buckets in files with a MaxAge or TTL expire everything, young
//     or old, at the first check of ages: the server compares with a clock that
//     is not virtual. In memory they expire nothing early, but up to one more
//     MaxAge late. TTLs of single messages, AckWait, inactivity and pings are
//     right with both. The manager of parti needs no bucket TTL.
//   - Real processing costs real time while the clock stands still: CPU-bound
//     work and disk writes take no virtual time at all.
//   - The order of goroutines is as free as ever. Nothing here makes a run
//     repeat exactly.
package testing
