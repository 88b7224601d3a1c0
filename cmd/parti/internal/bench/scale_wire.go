package bench

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"

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

// writeScale prints the table.
func writeScale(w io.Writer, figures []ScaleFigure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "partitions\tworkers\tevent\ttotal ms\tplan\tpublish\treach\tmoved\tvalues\tbytes\tof goal\tlargest\thead/worker\tmsgs in\tout\tMB in\tout\theap MB\tpeak\t")
	for _, f := range figures {
		goal := writtenFactor*f.MovedBytes + headGoal*f.Workers
		_, _ = fmt.Fprintf(t, "%d\t%d\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%.2f\t%d\t%.0f\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n",
			f.Partitions, f.Workers, f.Event, 1e3*f.Total, 1e3*f.Plan, 1e3*f.Publish, 1e3*f.Reach,
			f.Moved, f.Values, f.Bytes, float64(f.Bytes)/float64(goal), f.MaxValue, float64(f.HeadBytes)/float64(f.Workers),
			f.InMsgs, f.OutMsgs, float64(f.InBytes)/1e6, float64(f.OutBytes)/1e6, f.Heap/1e6, f.Peak/1e6)
	}
	return t.Flush()
}
