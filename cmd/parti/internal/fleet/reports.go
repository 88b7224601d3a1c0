package fleet

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/arloliu/parti"
)

// Report is a line that a process writes for its parent.
type Report struct {
	Kind    Kind     `json:"kind"`
	At      int64    `json:"at,omitempty"` // Unix time in ns, on the clock that both share
	Worker  string   `json:"worker,omitempty"`
	Leader  bool     `json:"leader,omitempty"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Moves   int      `json:"moves,omitempty"`
	Text    string   `json:"text,omitempty"`
}

// String is a report for people.
func (r *Report) String() string {
	switch r.Kind {
	case Started:
		return fmt.Sprintf("started, leader %v", r.Leader)
	case Assigned:
		return fmt.Sprintf("%d partitions taken over, %d given up", len(r.Added), len(r.Removed))
	case StateChanged:
		return r.From + " -> " + r.To
	case LeaderChanged:
		return fmt.Sprintf("leader %v", r.Leader)
	case Rebalanced:
		return fmt.Sprintf("rebalance, %s: %d moves", r.Reason, r.Moves)
	default:
		return fmt.Sprintf("%s %s", r.Kind, r.Text)
	}
}

// Kind says what a report is about.
type Kind string

// The kinds of reports.
const (
	Started       Kind = "started"    // Start has returned
	Assigned      Kind = "assignment" // partitions taken over and given up
	StateChanged  Kind = "state"
	LeaderChanged Kind = "leader"    // leadership won or lost
	Rebalanced    Kind = "rebalance" // a plan of this leader was committed
	Forced        Kind = "forced"    // handoffs that did not wait for the former owner
	Failed        Kind = "error"
	Said          Kind = "said" // what only the sender and its parent understand, in Text
)

// Reporter writes reports, one per line. A parent that is gone is no error: the
// worker learns of that from its standard input.
type Reporter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// NewReporter returns a reporter that writes to w.
func NewReporter(w io.Writer) *Reporter { return &Reporter{enc: json.NewEncoder(w)} }

// Send writes a report and the time of it.
func (r *Reporter) Send(rep Report) {
	rep.At = time.Now().UnixNano()
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.enc.Encode(rep)
}

// Meter turns what the manager measures of its plans into reports.
type Meter struct {
	parti.NopMetrics

	Reports *Reporter

	mu    sync.Mutex
	plans map[string]*planned // by reason
}

// planned is a plan of which the moves, the commit or both are known.
type planned struct{ moves, commits int }

// meterDelay is how long the two measurements of one plan may come apart.
const meterDelay = 20 * time.Millisecond

func (m *Meter) AddMoves(reason string, n int) {
	m.note(reason, func(p *planned) { p.moves += n })
}

func (m *Meter) IncrementRebalance(reason string) {
	m.note(reason, func(p *planned) { p.commits++ })
}

func (m *Meter) note(reason string, add func(*planned)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plans[reason]
	if p == nil {
		p = new(planned)
		if m.plans == nil {
			m.plans = make(map[string]*planned)
		}
		m.plans[reason] = p
		time.AfterFunc(meterDelay, func() { m.flush(reason) })
	}
	add(p)
}

func (m *Meter) flush(reason string) {
	m.mu.Lock()
	p := m.plans[reason]
	delete(m.plans, reason)
	m.mu.Unlock()
	if p.commits > 0 {
		m.Reports.Send(Report{Kind: Rebalanced, Reason: reason, Moves: p.moves})
	}
}

func (m *Meter) SetLeader(leader bool) {
	m.Reports.Send(Report{Kind: LeaderChanged, Leader: leader})
}

func (m *Meter) IncrementForcedHandoff() {
	m.Reports.Send(Report{Kind: Forced})
}
