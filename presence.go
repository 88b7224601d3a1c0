package parti

import (
	"context"
	"errors"
	"sync"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// prober is what a store may be able to do beside its buckets: tell whether a
// worker's connection is there. Without it deaths are found later.
type prober interface {
	Answer(ctx context.Context, subject string, answered func()) (stop func(), err error)
	Probe(ctx context.Context, subject string) error
	Notices(ctx context.Context, bucket int, consumer string, fn func(consumer string)) (stop func(), err error)
}

// presence answers probes and listens to notices as the core asks, beside the
// loop, one change at a time.
type presence struct {
	ctx    context.Context // of the run
	own    *tasks
	prober prober // may be nil
	group  string
	post   func(core.Event)
	log    Logger

	mu     sync.Mutex
	serve  subscription
	listen subscription
	busy   bool
	over   bool
	told   bool // the log has said that something is not permitted
}

// subscription is one as it is wanted and as it is.
type subscription struct {
	want, is string
	stop     func()
}

func (p *presence) set(s *subscription, want string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.want = want
	if p.prober == nil || p.busy || p.over || s.want == s.is {
		return
	}
	p.busy = true
	p.own.start("subscribing", p.work)
}

// work makes what is into what is wanted.
func (p *presence) work() {
	for {
		s, want, stop := p.next()
		if s == nil {
			return
		}
		if stop != nil {
			stop()
		}
		stop = nil
		if want != "" {
			stop = p.subscribe(s, want)
		}
		p.keep(s, stop)
	}
}

// keep notes how to end what was made, or ends it when all has ended meanwhile.
func (p *presence) keep(s *subscription, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over && stop != nil {
		stop()
		return
	}
	s.stop = stop
}

func (p *presence) next() (s *subscription, want string, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range []*subscription{&p.serve, &p.listen} {
		if s.want == s.is || p.over {
			continue
		}
		stop = s.stop
		s.is, s.stop = s.want, nil
		return s, s.is, stop
	}
	p.busy = false
	return nil, "", nil
}

func (p *presence) subscribe(s *subscription, want string) (stop func()) {
	var err error
	if s == &p.serve {
		var once sync.Once
		stop, err = p.prober.Answer(p.ctx, p.subject(want), func() {
			once.Do(func() { p.post(core.Probed{Inc: want}) })
		})
	} else {
		stop, err = p.prober.Notices(p.ctx, int(core.Assignments), want, func(consumer string) {
			p.post(core.Notice{Name: consumer})
		})
	}
	if err != nil && p.ctx.Err() == nil {
		p.denied(err)
	}
	return stop
}

// denied says once that crashes are found later than they could be.
func (p *presence) denied(err error) {
	p.mu.Lock()
	told := p.told
	p.told = true
	p.mu.Unlock()
	if !told {
		p.log.Warn("a crash is found later than it could be: grant what is refused", "error", err)
	}
}

// subject is where a worker answers probes.
func (p *presence) subject(inc string) string { return "parti." + p.group + ".probe." + inc }

// probe asks, beside the loop.
func (p *presence) probe(e core.Probe) {
	p.own.start("probing", func() {
		d := core.Done{Op: e.Op, Err: core.Ambiguous}
		ctx, cancel := context.WithTimeout(p.ctx, e.Timeout)
		defer cancel()
		if p.prober == nil {
			<-ctx.Done()
			p.post(d)
			return
		}
		switch err := p.prober.Probe(ctx, p.subject(e.Inc)); {
		case err == nil:
			d.Err = core.OK
		case errors.Is(err, natskv.ErrNobody):
			d.Err = core.NotFound
		case errors.Is(err, natskv.ErrDown):
			d.Err = core.Down
		default:
			d.Text = err.Error()
		}
		p.post(d)
	})
}

// end ends all. Nothing may be asked for any more.
func (p *presence) end() {
	if p.own == nil { // the run never began
		return
	}
	p.own.start("unsubscribing", func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.over = true
		for _, s := range []*subscription{&p.serve, &p.listen} {
			if s.stop != nil {
				s.stop()
				s.stop = nil
			}
		}
	})
}
