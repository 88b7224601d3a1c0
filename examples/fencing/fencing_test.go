package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "count.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStoreRefusesOlderTokens(t *testing.T) {
	s := open(t)
	older, old, now := parti.Token{Term: 7, Version: 11}, parti.Token{Term: 8, Version: 2}, parti.Token{Term: 8, Version: 10}
	if _, err := s.Claim(t.Context(), "p", old); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), "p", old, 5); err != nil {
		t.Error(err)
	}
	if done, err := s.Claim(t.Context(), "p", now); err != nil || done != 5 {
		t.Errorf("%d, %v", done, err)
	}
	for _, tok := range []parti.Token{old, older, {}} {
		if err := s.Save(t.Context(), "p", tok, 6); !errors.Is(err, ErrStale) {
			t.Errorf("save with %v: %v", tok, err)
		}
		if _, err := s.Claim(t.Context(), "p", tok); !errors.Is(err, ErrStale) {
			t.Errorf("claim with %v: %v", tok, err)
		}
	}
	if err := s.Save(t.Context(), "p", now, 7); err != nil {
		t.Error(err)
	}
	if done, err := s.Claim(t.Context(), "p", now); err != nil || done != 7 {
		t.Errorf("%d, %v", done, err)
	}
}

// TestStaleWritesAreRefused cuts a worker off that goes on working, as the default
// ownership has it, while another one gets its partitions. A trigger records every
// write that the database accepts.
func TestStaleWritesAreRefused(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		store := open(t)
		const audit = `CREATE TABLE accepted (seq INTEGER PRIMARY KEY, partition TEXT, term INTEGER, version INTEGER, was INTEGER, done INTEGER);
			CREATE TRIGGER audit AFTER UPDATE ON progress BEGIN
				INSERT INTO accepted (partition, term, version, was, done) VALUES (new.partition, new.term, new.version, old.done, new.done);
			END`
		if _, err := store.db.ExecContext(t.Context(), audit); err != nil {
			t.Fatal(err)
		}
		var refused atomic.Int32
		work := count(store, 500*time.Millisecond)
		begin := func(link *partitest.Link) *parti.Manager {
			mgr, err := newManager(link.Connect(t, parti.NATSOptions()...), parti.Config{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- mgr.Run(ctx, func(ctx context.Context, p parti.Partition, tok parti.Token) error {
					err := work(ctx, p, tok)
					if errors.Is(err, ErrStale) {
						refused.Add(1)
					}
					return err
				})
			}()
			t.Cleanup(func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
			return mgr
		}
		cut := srv.NewLink(t)
		managers := []*parti.Manager{begin(cut), begin(srv.NewLink(t))}
		for _, m := range managers {
			if err := m.WaitState(t.Context(), parti.StateStable); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			time.Sleep(30 * time.Second)
			cut.Blackhole()
			time.Sleep(30 * time.Second)
			if n := len(managers[1].CurrentAssignment().Partitions); n != 16 {
				t.Errorf("the other worker has %d partitions", n)
			}
			cut.Heal()
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()

		stale, lost, writes := judge(t, store)
		t.Logf("%d writes accepted, %d of them stale, %d calls ended by a refusal", writes, stale, refused.Load())
		if stale > 0 || lost > 0 {
			t.Errorf("%d stale writes were accepted, %d counts were lost", stale, lost)
		}
		if refused.Load() == 0 || writes < 5_000 {
			t.Errorf("%d refused, %d accepted: nothing was tried", refused.Load(), writes)
		}
	})
}

// judge counts the accepted writes whose token is older than one before, and those
// that did not count from where the partition stood.
func judge(t *testing.T, store *Store) (stale, lost, writes int) {
	t.Helper()
	rows, err := store.db.QueryContext(t.Context(), "SELECT partition, term, version, was, done FROM accepted ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	newest := map[string]parti.Token{}
	for rows.Next() {
		var id string
		var tok parti.Token
		var was, done int
		if err := rows.Scan(&id, &tok.Term, &tok.Version, &was, &done); err != nil {
			t.Fatal(err)
		}
		if tok.Less(newest[id]) {
			stale++
		}
		if done != was && done != was+1 {
			lost++
		}
		newest[id] = tok
		writes++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return stale, lost, writes
}
