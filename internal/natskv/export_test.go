package natskv

import "github.com/nats-io/nats.go"

// Receive makes the watch take a message as one of its consumer. A server
// refuses to pass on what a consumer would say but from a consumer.
func (w *Watch) Receive(m *nats.Msg) { w.receive(m) }
