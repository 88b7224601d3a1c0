package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/arloliu/parti"
)

// report is a line that a worker process writes for its parent.
type report struct {
	Kind    reportKind `json:"kind"`
	Worker  string     `json:"worker,omitempty"`
	Leader  bool       `json:"leader,omitempty"`
	Added   []string   `json:"added,omitempty"`
	Removed []string   `json:"removed,omitempty"`
	From    string     `json:"from,omitempty"`
	To      string     `json:"to,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	Moves   int        `json:"moves,omitempty"`
	Text    string     `json:"text,omitempty"`
}

type reportKind string

const (
	reportStarted    reportKind = "started"    // Start has returned
	reportAssignment reportKind = "assignment" // partitions taken over and given up
	reportState      reportKind = "state"
	reportLeader     reportKind = "leader"    // leadership won or lost
	reportRebalance  reportKind = "rebalance" // a plan of this leader was committed
	reportForced     reportKind = "forced"    // handoffs that did not wait for the former owner
	reportError      reportKind = "error"
)

// reporter writes reports, one per line. A parent that is gone is no error: the
// worker learns of that from its standard input.
type reporter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newReporter(w io.Writer) *reporter { return &reporter{enc: json.NewEncoder(w)} }

func (r *reporter) send(rep report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.enc.Encode(rep)
}

// meter turns what the manager measures of its plans into reports.
type meter struct {
	parti.NopMetrics

	reports *reporter

	mu    sync.Mutex
	plans map[string]*planned // by reason
}

// planned is a plan of which the moves, the commit or both are known.
type planned struct{ moves, commits int }

// meterDelay is how long the two measurements of one plan may come apart.
const meterDelay = 20 * time.Millisecond

func (m *meter) AddMoves(reason string, n int) {
	m.note(reason, func(p *planned) { p.moves += n })
}

func (m *meter) IncrementRebalance(reason string) {
	m.note(reason, func(p *planned) { p.commits++ })
}

func (m *meter) note(reason string, add func(*planned)) {
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

func (m *meter) flush(reason string) {
	m.mu.Lock()
	p := m.plans[reason]
	delete(m.plans, reason)
	m.mu.Unlock()
	if p.commits > 0 {
		m.reports.send(report{Kind: reportRebalance, Reason: reason, Moves: p.moves})
	}
}

func (m *meter) SetLeader(leader bool) {
	m.reports.send(report{Kind: reportLeader, Leader: leader})
}

func (m *meter) IncrementForcedHandoff() {
	m.reports.send(report{Kind: reportForced})
}
