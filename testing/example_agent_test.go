package testing_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// KVLock is an election agent on one key of a bucket whose TTL is the lease: a
// key that is not renewed goes away by itself. It shows what an agent has to do;
// parti's own election needs none.
type KVLock struct {
	kv  jetstream.KeyValue
	key string

	mu    sync.Mutex // one call at a time
	rev   uint64     // of the own value; 0 = not held
	until time.Time  // when the own lease ends, by the own clock
}

func (l *KVLock) RequestLeadership(ctx context.Context, workerID string, lease time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held() {
		return true, nil
	}
	until := time.Now().Add(lease) // counted from before the attempt
	rev, err := l.kv.Create(ctx, l.key, []byte(workerID))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.rev, l.until = rev, until
	return true, nil
}

func (l *KVLock) RenewLeadership(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held() {
		return errors.New("the lease has ended")
	}
	lease, began := time.Until(l.until), time.Now()
	if s, err := l.kv.Status(ctx); err == nil {
		lease = s.TTL()
	}
	rev, err := l.kv.Update(ctx, l.key, nil, l.rev)
	if err != nil {
		l.rev = 0
		return err
	}
	l.rev, l.until = rev, began.Add(lease)
	return nil
}

func (l *KVLock) ReleaseLeadership(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rev == 0 {
		return nil
	}
	rev := l.rev
	l.rev = 0
	err := l.kv.Delete(ctx, l.key, jetstream.LastRevision(rev))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return nil // another one's by now
	}
	return err
}

func (l *KVLock) IsLeader(context.Context) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held()
}

func (l *KVLock) held() bool { return l.rev != 0 && time.Now().Before(l.until) }

func ExampleCheckElectionAgent() {
	var t *testing.T          // of your test
	var kv jetstream.KeyValue // made with a TTL of the lease

	partitest.CheckElectionAgent(t, 6*time.Second, func() parti.ElectionAgent {
		return &KVLock{kv: kv, key: "leader"}
	})
}
