package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/arloliu/parti"
)

// weightColumn is the column that gives the weight, in any case of letters.
const weightColumn = "weight"

// SQL is a list of partitions that a query returns. Its methods may be called
// from several goroutines.
type SQL struct {
	db    *sql.DB
	query string
	args  []any
}

var _ parti.PartitionSource = (*SQL)(nil)

// NewSQL returns a source that runs a query with the given arguments whenever
// the list is read: by [parti.Manager.RefreshPartitions] and every
// Config.RefreshInterval. It opens and closes nothing.
//
// Each row is a partition. The column named "weight", if there is one, is its
// weight, a whole number; NULL stands for [parti.DefaultWeight]. Every other
// column is a key, in the order of the query:
//
//	SELECT tenant, shard, cost AS weight FROM shards WHERE active
//
// Keys may be of any type that database/sql converts to a string. How it writes
// times and numbers that are not whole depends on the driver: cast them to text
// in the query, lest workers with different drivers list different partitions.
// Keys that are NULL or empty are refused.
func NewSQL(db *sql.DB, query string, args ...any) *SQL {
	return &SQL{db: db, query: query, args: args}
}

// ListPartitions runs the query, at most until ctx ends. Its errors name the row,
// counted from 1, and the column where that is the cause, and match
// [ErrMalformed] when the query returned what is no list of partitions.
func (s *SQL) ListPartitions(ctx context.Context) (list []parti.Partition, err error) {
	rows, err := s.db.QueryContext(ctx, s.query, s.args...)
	if err != nil {
		return nil, fmt.Errorf("query partitions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	scanner, err := newRowScanner(rows)
	if err != nil {
		return nil, err
	}
	list = []parti.Partition{}
	for rows.Next() {
		p, err := scanner.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("partitions, row %d: %w", len(list)+1, err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("query partitions: after row %d: %w", len(list), err)
	}
	return list, nil
}

// rowScanner turns rows into partitions.
type rowScanner struct {
	names  []string         // of the keys' columns
	keys   []sql.NullString // of the row at hand
	weight sql.NullInt64
	into   []any
}

func newRowScanner(rows *sql.Rows) (*rowScanner, error) {
	columns, err := rows.Columns()
	if err != nil {
		return nil, fmt.Errorf("query partitions: %w", err)
	}
	r := &rowScanner{keys: make([]sql.NullString, len(columns))}
	weights := 0
	for _, c := range columns {
		if strings.EqualFold(c, weightColumn) {
			weights++
			r.into = append(r.into, &r.weight)
			continue
		}
		r.into = append(r.into, &r.keys[len(r.names)])
		r.names = append(r.names, c)
	}
	switch {
	case len(r.names) == 0:
		return nil, fmt.Errorf("%w: the query returns no column but %q: every other one is a key", ErrMalformed, columns)
	case weights > 1:
		return nil, fmt.Errorf("%w: the query returns %d columns named %q: rename all but one", ErrMalformed, weights, weightColumn)
	}
	return r, nil
}

func (r *rowScanner) scan(rows *sql.Rows) (parti.Partition, error) {
	r.weight = sql.NullInt64{}
	if err := rows.Scan(r.into...); err != nil { // names the column
		return parti.Partition{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	p := parti.Partition{Keys: make([]string, len(r.names)), Weight: r.weight.Int64}
	for i, name := range r.names {
		switch k := r.keys[i]; {
		case !k.Valid:
			return p, fmt.Errorf("%w: column %q is NULL: leave such rows out, or name them with COALESCE", ErrMalformed, name)
		case k.String == "":
			return p, fmt.Errorf("%w: column %q is empty: a key needs a name", ErrMalformed, name)
		default:
			p.Keys[i] = k.String
		}
	}
	return p, nil
}
