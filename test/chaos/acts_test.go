package chaos

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

var (
	sigStop os.Signal = syscall.SIGSTOP
	sigCont os.Signal = syscall.SIGCONT
)

// readyLimit bounds how long the servers may take to be well again, which is not
// up to the library.
const readyLimit = 90 * time.Second

// act is a step of an episode.
type act struct {
	at time.Time
	do func() error
}

// episode has its faults begin and end, and waits until the fleet is well again.
func (r *run) episode(number int, faults []fault) error {
	began := time.Now()
	var acts []act
	servers := make(chan error, len(faults))
	turn := make(chan struct{}, 1) // one server's fault at a time
	pending := 0
	for _, f := range faults {
		at := began.Add(f.At)
		r.own.Say("episode %d: %s %d after %v for %v", number, f.Kind, f.Slot, f.At, f.For)
		if f.Kind.ofServer() || f.Kind == moved {
			pending++
			acts = append(acts, act{at, func() error {
				go func() {
					turn <- struct{}{}
					servers <- r.breakServer(f)
					<-turn
				}()
				return nil
			}})
			continue
		}
		begin, end := r.breakWorker(f)
		acts = append(acts, act{at, begin})
		if end != nil {
			acts = append(acts, act{at.Add(f.For), end})
		}
	}
	for len(acts) > 0 || pending > 0 {
		next := -1
		for i := range acts {
			if next < 0 || acts[i].at.Before(acts[next].at) {
				next = i
			}
		}
		if next < 0 || time.Now().Before(acts[next].at) {
			select {
			case ev := <-r.fleet.Events:
				if err := r.fleet.Take(ev); err != nil {
					return err
				}
			case err := <-servers:
				pending--
				if err != nil {
					return err
				}
			case <-time.After(10 * time.Millisecond):
			case <-r.ctx.Done():
				return r.ctx.Err()
			}
			continue
		}
		do := acts[next].do
		acts = append(acts[:next], acts[next+1:]...)
		if err := do(); err != nil {
			return err
		}
	}
	for _, f := range faults {
		r.result.faults[f.Kind]++
	}
	over := time.Now()
	r.own.Say("episode %d: everything is repaired after %v", number, over.Sub(began))
	stable, err := r.settle(2 * r.result.within)
	if err != nil {
		return err
	}
	took := max(0, stable.Sub(over))
	r.result.stable = append(r.result.stable, took)
	r.own.Say("episode %d: everybody is Stable after %v", number, took)
	return nil
}

// breakWorker returns what begins and what ends a fault of a worker.
func (r *run) breakWorker(f fault) (begin, end func() error) {
	p, link := r.procs[f.Slot], r.proxies[f.Slot]
	// Who is stopped cannot know that its partitions are another's. Who is cut off
	// can, by its own clock, and goes on nevertheless where that is asked for.
	blind := uint64(0)
	if f.Kind == sigstop || r.mode == parti.OwnershipAvailable {
		blind = 1
	}
	doubt := func(do func() error) func() error {
		return func() error {
			r.own.Add(oracle.Record{Kind: oracle.Doubted, N: p.N, Seq: blind})
			return do()
		}
	}
	trust := func(do func() error) func() error {
		return func() error {
			err := do()
			r.own.Add(oracle.Record{Kind: oracle.Trusted, N: p.N})
			return err
		}
	}
	signal := func(s os.Signal) func() error { return func() error { return p.Signal(s) } }
	toxic := func(kind string, attributes map[string]any, directions ...string) func() error {
		return func() error { return link.add(kind, attributes, directions...) }
	}
	both := []string{"upstream", "downstream"}
	switch f.Kind {
	case sigkill:
		return r.kill(f)
	case sigstop:
		return doubt(signal(sigStop)), trust(signal(sigCont))
	case cut:
		return doubt(func() error { link.cut(); return nil }), trust(link.mend)
	case halfOpen: // bytes vanish, in one direction or in both, and nobody is told
		return doubt(toxic("timeout", map[string]any{"timeout": 0}, [][]string{both, both[:1], both[1:]}[f.Variant%3]...)), trust(link.clear)
	case latency:
		ms := 20 + f.Variant%500
		return doubt(toxic("latency", map[string]any{"latency": ms, "jitter": ms / 2}, both...)), trust(link.clear)
	case bandwidth:
		return doubt(toxic("bandwidth", map[string]any{"rate": 1 + f.Variant%16}, both...)), trust(link.clear) // KB/s
	default:
		panic(f.Kind)
	}
}

// kill ends a worker with SIGKILL and starts another one at once, which takes
// over its id, or after its partitions may have gone to others.
func (r *run) kill(f fault) (begin, end func() error) {
	restart := func() error {
		r.procs[f.Slot] = nil
		return r.start(f.Slot)
	}
	begin = func() error {
		victim := r.procs[f.Slot]
		if err := r.fleet.Kill(victim); err != nil {
			return err
		}
		if err := r.until("the killed process has ended", joinLimit, func() bool { return r.fleet.Procs[victim.N] == nil }); err != nil {
			return err
		}
		if f.Variant%2 == 0 {
			return restart()
		}
		return nil
	}
	if f.Variant%2 == 0 {
		return begin, nil
	}
	return begin, restart
}

// breakServer breaks something of the servers and returns when they are well
// again.
func (r *run) breakServer(f fault) error {
	r.own.Add(oracle.Record{Kind: oracle.OutageBegan})
	defer r.own.Add(oracle.Record{Kind: oracle.OutageEnded})
	wait := func(d time.Duration) {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.ctx.Done():
		}
	}
	restart := func(n *crew.Node, s syscall.Signal, down time.Duration) error {
		if err := n.Stop(s); err != nil {
			return err
		}
		wait(down)
		if err := r.cluster.Start(n); err != nil {
			return err
		}
		return r.cluster.Ready(r.ctx, readyLimit)
	}
	switch f.Kind {
	case moved:
		return r.moveLeader(f)
	case nodeKill:
		return restart(r.cluster.Nodes[f.Slot%len(r.cluster.Nodes)], syscall.SIGKILL, f.For)
	case rolling:
		for _, n := range r.cluster.Nodes {
			if err := restart(n, syscall.SIGTERM, f.For/4); err != nil {
				return err
			}
			wait(f.For)
		}
		return nil
	case full:
		if err := r.cluster.Fill(true); err != nil {
			return err
		}
		wait(f.For)
		if err := r.cluster.Fill(false); err != nil {
			return err
		}
		return r.cluster.Ready(r.ctx, readyLimit)
	default:
		panic(f.Kind)
	}
}

// moveLeader has the leader of a stream, of a bucket, or of the cluster itself
// step down.
func (r *run) moveLeader(f fault) error {
	names := []string{
		streams[0].name, streams[1].name, streams[2].name, "KV_" + r.cfg.KVBucket.StableIDBucket, "KV_" + r.cfg.KVBucket.ElectionBucket,
		"KV_" + r.cfg.KVBucket.HeartbeatBucket, "KV_" + r.cfg.KVBucket.AssignmentBucket,
	}
	ctx, cancel := context.WithTimeout(r.ctx, 15*time.Second)
	defer cancel()
	conn, subject := r.js.Conn(), ""
	if i := f.Slot % (len(names) + 1); i < len(names) {
		subject = "$JS.API.STREAM.LEADER.STEPDOWN." + names[i]
	} else {
		conn, subject = r.cluster.System, "$JS.API.META.LEADER.STEPDOWN"
	}
	if len(r.cluster.Nodes) == 1 {
		return nil // nobody else could lead
	}
	return insist(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		msg, err := conn.RequestMsgWithContext(ctx, nats.NewMsg(subject))
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		r.own.Say("%s: %s", subject, msg.Data)
		return nil
	})
}
