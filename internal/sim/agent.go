package sim

import (
	"time"

	"github.com/arloliu/parti/internal/core"
)

// agentModel is an external election agent: one lease that expires.
type agentModel struct {
	liar   bool // says yes to everybody
	holder string
	until  time.Duration
}

func (a *agentModel) call(p *Worker, e core.Agent) {
	w := p.world
	w.after(w.between(0, 20*time.Millisecond), func() {
		d := core.Done{Op: e.Op}
		mine := a.holder == p.name && w.now < a.until
		switch e.Verb {
		case core.AgentRequest:
			if d.Yes = a.liar || mine || w.now >= a.until; d.Yes {
				a.holder, a.until = p.name, w.now+e.Lease
			}
		case core.AgentRenew:
			switch {
			case a.liar:
			case mine:
				a.until = w.now + w.cfg.HeartbeatTTL
			default:
				d.Err, d.Text = core.Failed, "the lease is another's"
			}
		case core.AgentRelease:
			if mine {
				a.until = 0
			}
		}
		w.after(w.between(0, 20*time.Millisecond), func() { p.tell(d) })
	})
}
