package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // the database, in pure Go

	"github.com/arloliu/parti"
)

// ErrStale is returned for a write under a token that is older than one that the
// store has seen: the writer has been replaced, whether it knows it or not.
var ErrStale = errors.New("stale token: the partition has a newer owner")

// Store keeps how far each partition has been worked on, and under which token.
type Store struct{ db *sql.DB }

// Open opens the database, and makes its table.
func Open(ctx context.Context, path string) (*Store, error) {
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	const table = `CREATE TABLE IF NOT EXISTS progress (
		partition TEXT PRIMARY KEY,
		term      INTEGER NOT NULL,
		version   INTEGER NOT NULL,
		done      INTEGER NOT NULL
	)`
	if _, err := db.ExecContext(ctx, table); err != nil {
		return nil, errors.Join(fmt.Errorf("create table: %w", err), db.Close())
	}
	return &Store{db}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Claim records the token of a new owner, before it reads: from then on nobody
// with an older one writes. It returns how far the partition is.
func (s *Store) Claim(ctx context.Context, partition string, t parti.Token) (done int, err error) {
	const claim = `INSERT INTO progress (partition, term, version, done) VALUES (?, ?, ?, 0)
		ON CONFLICT (partition) DO UPDATE SET term = excluded.term, version = excluded.version
		WHERE (excluded.term, excluded.version) >= (progress.term, progress.version)
		RETURNING done`
	err = s.db.QueryRowContext(ctx, claim, partition, t.Term, t.Version).Scan(&done)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("claim %s with %v: %w", partition, t, ErrStale)
	case err != nil:
		return 0, fmt.Errorf("claim %s: %w", partition, err)
	}
	return done, nil
}

// Save writes how far a partition is. The token is a condition of the write, in
// the same statement: a check before it would not do, since the process may be
// suspended between the two.
func (s *Store) Save(ctx context.Context, partition string, t parti.Token, done int) error {
	const save = `UPDATE progress SET done = ?, term = ?2, version = ?3
		WHERE partition = ?4 AND (?2, ?3) >= (term, version)`
	res, err := s.db.ExecContext(ctx, save, done, t.Term, t.Version, partition)
	if err != nil {
		return fmt.Errorf("save %s: %w", partition, err)
	}
	switch n, err := res.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("save %s: %w", partition, err)
	case n == 0:
		return fmt.Errorf("save %s with %v: %w", partition, t, ErrStale)
	}
	return nil
}
