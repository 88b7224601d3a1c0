// Package chaos breaks a fleet of worker processes on a cluster of nats-server
// processes in every way that a schedule draws from a seed, while messages flow,
// and judges afterwards what the fleet did. See docs/design/testing.md.
package chaos
