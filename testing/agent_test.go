package testing_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// memLock is a lock in memory with leases.
type memLock struct {
	over   chan struct{} // closed at the end of a test
	mu     sync.Mutex
	holder *memAgent
	until  time.Time
}

// memAgent is a good agent, but for what bad says.
type memAgent struct {
	l   *memLock
	bad string
}

func (a *memAgent) held() bool { return a.l.holder == a && time.Now().Before(a.l.until) }

func (a *memAgent) RequestLeadership(ctx context.Context, _ string, lease time.Duration) (bool, error) {
	switch a.bad {
	case "waits for the lock":
		for {
			a.l.mu.Lock()
			free := a.l.holder == nil || a.l.holder == a
			a.l.mu.Unlock()
			if free {
				break
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	case "ignores its context":
		if ctx.Err() != nil {
			<-a.l.over
		}
	}
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	free := a.l.holder == nil || a.l.holder == a || !time.Now().Before(a.l.until)
	switch a.bad {
	case "never lapses":
		free = a.l.holder == nil || a.l.holder == a
	case "yes to all":
		free = true
	case "asking twice is an error":
		if a.l.holder == a {
			return false, errors.New("held already")
		}
	case "no is an error":
		if !free {
			return false, errors.New("held by another")
		}
	case "checks before it takes":
		if free {
			a.l.mu.Unlock()
			time.Sleep(time.Millisecond)
			a.l.mu.Lock()
		}
	case "panics":
		panic("no such lock")
	}
	if free {
		a.l.holder, a.l.until = a, time.Now().Add(lease)
		if a.bad == "short lease" {
			a.l.until = time.Now().Add(lease / 4)
		}
	}
	return free, nil
}

func (a *memAgent) RenewLeadership(context.Context) error {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if a.bad == "renews what it lost" {
		a.l.holder = a
	}
	if !a.held() {
		return errors.New("not the leader")
	}
	if a.bad != "renewal extends nothing" {
		a.l.until = time.Now().Add(leaseOfTests)
	}
	return nil
}

func (a *memAgent) ReleaseLeadership(context.Context) error {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if a.bad == "does not release" {
		return nil
	}
	if a.l.holder == a || a.bad == "releases others" {
		a.l.holder = nil
	}
	return nil
}

func (a *memAgent) IsLeader(context.Context) bool {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	return a.held() || a.bad == "always believes to lead"
}

const leaseOfTests = 6 * time.Second

func TestCheckElectionAgentAcceptsAGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &memLock{}
		began := time.Now()
		partitest.CheckElectionAgent(t, leaseOfTests, func() parti.ElectionAgent { return &memAgent{l: l} })
		if took := time.Since(began); took > 10*leaseOfTests {
			t.Errorf("it took %v", took)
		}
	})
}

func TestCheckElectionAgentFindsBadOnes(t *testing.T) {
	for bad, want := range map[string]string{
		"yes to all":               "let lead as well",
		"never lapses":             "nobody else is let lead",
		"asking twice is an error": "asks again",
		"no is an error":           "an error instead of no",
		"waits for the lock":       "waits for the lock",
		"ignores its context":      "goes on though its context has ended",
		"panics":                   "panics: no such lock",
		"checks before it takes":   "ask in the same moment",
		"short lease":              "is lost though it is renewed",
		"renewal extends nothing":  "is lost though it is renewed",
		"renews what it lost":      "renews what",
		"does not release":         "leads after its release",
		"releases others":          "releases what another holds",
		"always believes to lead":  "leads without having asked",
	} {
		t.Run(bad, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &memLock{over: make(chan struct{})}
				defer close(l.over)
				r := &recorder{TB: t}
				r.run(func() {
					partitest.CheckElectionAgent(r, leaseOfTests, func() parti.ElectionAgent { return &memAgent{l: l, bad: bad} })
				})
				if !r.failed(want) {
					t.Errorf("found %q, want %q", r.lines(), want)
				}
			})
		})
	}
}

func TestCheckElectionAgentOverNATSKV(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const lease = 6 * time.Second
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "lock", TTL: lease, Storage: jetstream.MemoryStorage})
		if err != nil {
			t.Fatal(err)
		}
		partitest.CheckElectionAgent(t, lease, func() parti.ElectionAgent { return &KVLock{kv: kv, key: "leader"} })
	})
}
