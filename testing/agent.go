package testing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arloliu/parti"
)

// CheckElectionAgent checks that agents keep the contract of
// parti.ElectionAgent. newAgent makes the agent of one more worker on the same
// lock, which is free at first and used by nobody else; lease is the shortest
// that the lock can keep. The check lasts some ten leases: in a [Bubble] they cost
// nothing.
//
//   - An agent leads from a yes on, until it releases or its lease lapses, and
//     asking again changes nothing; at any time at most one leads, also when
//     several ask in the same moment.
//   - Who asks in vain is told no, at once and without an error.
//   - A renewal extends the lease; without one another agent can lead within
//     three leases, and the old one neither renews nor believes to lead.
//   - A release lets another lead at once. Releasing twice, or what one does not
//     hold, harms nobody.
//   - No call outlasts its context, none panics, and all may be made at the same
//     time.
//
// Each broken rule is one t.Errorf.
func CheckElectionAgent(t testing.TB, lease time.Duration, newAgent func() parti.ElectionAgent) {
	t.Helper()
	c := &agentCheck{t: t, lease: lease}
	for i := range 3 {
		c.agents = append(c.agents, &checkedAgent{c: c, id: fmt.Sprintf("worker-%d", i), a: newAgent()})
	}
	for _, rule := range []func(a, b *checkedAgent){c.yes, c.renewal, c.release, c.lapse, c.contexts} {
		rule(c.agents[0], c.agents[1])
		c.free()
		if c.hung.Load() { // whatever follows would only wait
			return
		}
	}
	c.race()
	c.free()
}

type agentCheck struct {
	t      testing.TB
	lease  time.Duration
	agents []*checkedAgent
	hung   atomic.Bool
}

// checkedAgent makes calls that cannot hang or panic the check.
type checkedAgent struct {
	c  *agentCheck
	id string
	a  parti.ElectionAgent
}

func (c *agentCheck) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("election agent: "+format, args...)
}

var errHung = errors.New("no answer")

// do makes one call with a context that ends after limit, and gives up on it
// a lease later.
func (a *checkedAgent) do(what string, limit time.Duration, f func(context.Context) (bool, error)) (bool, error) {
	type result struct {
		yes bool
		err error
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	results := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("panic: %v", p)}
				a.c.fail("%s of %s panics: %v", what, a.id, p)
			}
			results <- r
		}()
		r.yes, r.err = f(ctx)
	}()
	late := time.NewTimer(limit + a.c.lease)
	defer late.Stop()
	select {
	case r := <-results:
		return r.yes, r.err
	case <-late.C:
		a.c.hung.Store(true)
		a.c.fail("%s of %s goes on though its context has ended", what, a.id)
		return false, errHung
	}
}

func (a *checkedAgent) request() (bool, error) {
	return a.do("RequestLeadership", a.c.lease, func(ctx context.Context) (bool, error) {
		return a.a.RequestLeadership(ctx, a.id, a.c.lease)
	})
}

func (a *checkedAgent) renew() error {
	_, err := a.do("RenewLeadership", a.c.lease, func(ctx context.Context) (bool, error) {
		return true, a.a.RenewLeadership(ctx)
	})
	return err
}

func (a *checkedAgent) release() error {
	_, err := a.do("ReleaseLeadership", a.c.lease, func(ctx context.Context) (bool, error) {
		return true, a.a.ReleaseLeadership(ctx)
	})
	return err
}

func (a *checkedAgent) leads() bool {
	yes, _ := a.do("IsLeader", a.c.lease, func(ctx context.Context) (bool, error) {
		return a.a.IsLeader(ctx), nil
	})
	return yes
}

// take has a lead.
func (c *agentCheck) take(a *checkedAgent, when string) bool {
	c.t.Helper()
	yes, err := a.request()
	if !yes || err != nil {
		c.fail("%s: %s asks for a free lock and gets %v, %v", when, a.id, yes, err)
		return false
	}
	if !a.leads() {
		c.fail("%s: %s does not lead after a yes", when, a.id)
		return false
	}
	return true
}

// refused has b ask in vain.
func (c *agentCheck) refused(b *checkedAgent, when string) {
	c.t.Helper()
	began := time.Now()
	yes, err := b.request()
	switch {
	case yes:
		c.fail("%s: %s is let lead as well", when, b.id)
	case time.Since(began) >= c.lease:
		c.fail("%s: %s waits for the lock instead of being told no (%v)", when, b.id, err)
	case err != nil:
		c.fail("%s: %s is told an error instead of no: %v", when, b.id, err)
	}
	if b.leads() {
		c.fail("%s: %s believes to lead", when, b.id)
	}
}

// free has everybody release.
func (c *agentCheck) free() {
	for _, a := range c.agents {
		if !c.hung.Load() {
			_ = a.release() // of what most do not hold
		}
	}
}

func (c *agentCheck) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

func (c *agentCheck) yes(a, b *checkedAgent) {
	if a.leads() {
		c.fail("%s leads without having asked", a.id)
	}
	if a.renew() == nil && a.leads() {
		c.fail("%s renews what it does not hold", a.id)
	}
	if !c.take(a, "at first") {
		return
	}
	c.refused(b, "while another leads")
	if yes, err := a.request(); !yes || err != nil {
		c.fail("the leader asks again and gets %v, %v", yes, err)
	}
	c.refused(b, "after the leader has asked again")
	if b.renew() == nil && b.leads() {
		c.fail("%s renews what another holds", b.id)
	}
	if err := b.release(); !a.leads() {
		c.fail("%s releases what another holds (%v), and that one does not lead any more", b.id, err)
	}
	c.refused(b, "after releasing what another holds")
}

func (c *agentCheck) renewal(a, b *checkedAgent) {
	if !c.take(a, "before renewals") {
		return
	}
	for range 6 { // two leases
		c.wait(c.lease / 3)
		if err := a.renew(); err != nil || !a.leads() {
			c.fail("a lease of %v is lost though it is renewed three times in it: %v", c.lease, err)
			return
		}
		c.refused(b, "while the leader renews")
	}
}

func (c *agentCheck) release(a, b *checkedAgent) {
	for range 2 {
		if !c.take(a, "before a release") {
			return
		}
		if err := a.release(); err != nil {
			c.fail("release: %v", err)
		}
		if a.leads() {
			c.fail("%s leads after its release", a.id)
		}
		if !c.take(b, "after a release") {
			return
		}
		_ = a.release() // again
		c.refused(a, "after releasing twice")
		a, b = b, a
		_ = a.release()
	}
}

func (c *agentCheck) lapse(a, b *checkedAgent) {
	if !c.take(a, "before a lapse") {
		return
	}
	for began := time.Now(); ; c.wait(c.lease / 4) {
		yes, err := b.request()
		if yes && err == nil {
			break
		}
		if time.Since(began) > 3*c.lease {
			c.fail("three leases of %v without a renewal, and nobody else is let lead (%v)", c.lease, err)
			return
		}
		if c.hung.Load() {
			return
		}
	}
	if a.renew() == nil && a.leads() {
		c.fail("%s renews a lease that another has taken over", a.id)
	}
	if a.leads() {
		c.fail("%s leads though another has taken over", a.id)
	}
	if !b.leads() {
		c.fail("%s does not lead any more: the former leader ended it", b.id)
	}
}

// contexts makes calls whose context ends while, or before, they run.
func (c *agentCheck) contexts(a, b *checkedAgent) {
	if !c.take(a, "before calls that are cancelled") {
		return
	}
	if yes, _ := b.do("RequestLeadership", c.lease/10, func(ctx context.Context) (bool, error) {
		return b.a.RequestLeadership(ctx, b.id, c.lease)
	}); yes {
		c.fail("%s is let lead as well", b.id)
	}
	for what, f := range map[string]func(context.Context) error{
		"RequestLeadership": func(ctx context.Context) error { _, err := b.a.RequestLeadership(ctx, b.id, c.lease); return err },
		"RenewLeadership":   b.a.RenewLeadership,
		"ReleaseLeadership": b.a.ReleaseLeadership,
		"IsLeader":          func(ctx context.Context) error { b.a.IsLeader(ctx); return nil },
	} {
		_, _ = b.do(what, 0, func(ctx context.Context) (bool, error) { return true, f(ctx) })
	}
}

// race has all ask in the same moment, and make every call at once.
func (c *agentCheck) race() {
	for range 10 {
		var mu sync.Mutex
		var leaders []string
		c.together(func(a *checkedAgent) {
			if yes, err := a.request(); yes && err == nil {
				mu.Lock()
				defer mu.Unlock()
				leaders = append(leaders, a.id)
			}
		})
		if len(leaders) > 1 {
			c.fail("%v ask in the same moment and are all let lead", leaders)
		}
		c.together(func(a *checkedAgent) { _ = a.release() })
	}
	c.together(
		func(a *checkedAgent) { _, _ = a.request() },
		func(a *checkedAgent) { _ = a.renew() },
		func(a *checkedAgent) { a.leads() },
		func(a *checkedAgent) { _ = a.release() },
	)
}

// together makes calls of all agents at the same time.
func (c *agentCheck) together(calls ...func(*checkedAgent)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for _, a := range c.agents {
		for _, f := range calls {
			wg.Go(func() {
				<-begin
				f(a)
			})
		}
	}
	close(begin)
	wg.Wait()
}
