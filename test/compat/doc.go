// Package compat runs parti on older nats-server programs. See
// docs/design/testing.md.
package compat
