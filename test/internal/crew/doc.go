// Package crew runs worker processes for tests that break things: it starts
// them, hears what they say, ends them, and keeps the histories that
// test/soak/oracle judges afterwards.
//
// A worker process is the test binary, started again. It reads one line of
// specification and then commands from its standard input, whose end has it
// leave; what the runner must know at once it writes as records to its standard
// output, and everything to a history of its own.
package crew
