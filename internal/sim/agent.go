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

// call makes a call of the agent, after those that the worker made before.
func (a *agentModel) call(p *Worker, e core.Agent) {
	w := p.world
	p.agentFree = max(p.agentFree, w.now) + w.between(0, 20*time.Millisecond)
	w.at(p.agentFree, func() {
		d := core.Done{Op: e.Op}
		mine := a.holder == p.name && w.now < a.until
		switch e.Verb {
		case core.AgentRequest:
			if d.Yes = a.liar || mine || w.now >= a.until; d.Yes {
				a.holder, a.until = p.name, w.now+e.Lease
			}
		case core.AgentRenew:
			if d.Yes = a.liar || mine; mine {
				a.until = w.now + w.cfg.HeartbeatTTL
			}
		case core.AgentRelease:
			if mine {
				a.until = 0
			}
		}
		p.tell(d)
	})
}
