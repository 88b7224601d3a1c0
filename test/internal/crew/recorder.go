package crew

import (
	"context"
	"errors"
	"sync"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/soak/oracle"
)

// Recorder is a worker's updater: it records what is granted and let go around
// another one.
type Recorder struct {
	// Updater does the work.
	Updater parti.WorkerConsumerUpdater
	// Owns is [parti.Manager.Owns].
	Owns func(parti.Partition) (parti.Token, bool)
	// Number is the number of a partition in the history.
	Number func(parti.Partition) int
	// Add records, and Failed is told of updates that failed.
	Add    func(oracle.Record)
	Failed func(error)

	mu      sync.Mutex
	current map[int]bool        // what the updater works on
	leaving map[int]bool        // told to go, and not yet let go of; true when that took too long
	tokens  map[int]parti.Token // of the latest grants
}

// UpdateWorkerConsumer makes Recorder a [parti.WorkerConsumerUpdater].
func (w *Recorder) UpdateWorkerConsumer(ctx context.Context, id string, partitions []parti.Partition) error {
	wanted := make(map[int]bool, len(partitions))
	var gained []oracle.Record
	w.mu.Lock()
	if w.current == nil {
		w.current, w.leaving, w.tokens = make(map[int]bool), make(map[int]bool), make(map[int]parti.Token)
	}
	for _, p := range partitions {
		n := w.Number(p)
		wanted[n] = true
		if !w.current[n] {
			token, _ := w.Owns(p)
			w.current[n], w.tokens[n] = true, token
			delete(w.leaving, n)
			gained = append(gained, oracle.Record{Kind: oracle.Granted, Part: n, Token: token})
		}
	}
	for n := range w.current {
		if !wanted[n] {
			delete(w.current, n)
			w.leaving[n] = false
			w.Add(oracle.Record{Kind: oracle.Told, Part: n})
		}
	}
	w.mu.Unlock()
	for _, r := range gained {
		w.Add(r)
	}
	err := w.Updater.UpdateWorkerConsumer(ctx, id, partitions)
	if errors.Is(err, parti.ErrSuperseded) {
		return err
	}
	if err != nil {
		w.Failed(err)
		w.mu.Lock()
		defer w.mu.Unlock()
		for n := range w.leaving {
			w.leaving[n] = true // to be on the safe side, all that it may be about
		}
		return err
	}
	w.mu.Lock()
	left := w.leaving
	w.leaving = make(map[int]bool)
	w.mu.Unlock()
	for n, revoked := range left {
		r := oracle.Record{Kind: oracle.Released, Part: n}
		if revoked {
			r.N = 1
		}
		w.Add(r)
	}
	return nil
}

// Token is the latest known: of the assignment, or, when that has no such
// partition any more, of the grant.
func (w *Recorder) Token(p parti.Partition) parti.Token {
	if t, ok := w.Owns(p); ok {
		return t
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens[w.Number(p)]
}

// Held is how many partitions the updater works on.
func (w *Recorder) Held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.current)
}
