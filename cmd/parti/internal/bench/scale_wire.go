package bench

import (
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// wireMeter counts what is written to a bucket, by listening to what its stream
// listens to.
type wireMeter struct {
	sub *nats.Subscription

	mu                      sync.Mutex
	values, bytes, max, top int // top: the largest head
}

func newWireMeter(nc *nats.Conn, bucket string) (*wireMeter, error) {
	m := &wireMeter{}
	var err error
	m.sub, err = nc.Subscribe("$KV."+bucket+".>", func(msg *nats.Msg) {
		if len(msg.Data) == 0 { // a deletion
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.values++
		m.bytes += len(msg.Data)
		m.max = max(m.max, len(msg.Data))
		if strings.HasSuffix(msg.Subject, ".head") {
			m.top = max(m.top, len(msg.Data))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to bucket %s: %w", bucket, err)
	}
	return m, m.sub.SetPendingLimits(-1, -1)
}

func (m *wireMeter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values, m.bytes, m.max, m.top = 0, 0, 0, 0
}

func (m *wireMeter) figures(f *ScaleFigure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.Values, f.Bytes, f.MaxValue, f.HeadBytes = m.values, m.bytes, m.max, m.top
}

func (m *wireMeter) close() {
	if m != nil {
		_ = m.sub.Unsubscribe() // the connection may be gone
	}
}
