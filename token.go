package parti

import (
	"cmp"
	"context"
	"fmt"
)

// Token is a fencing token. Each grant of a partition carries one that is
// greater than every earlier one of the same partition, over leaders, restarts
// and rebuilt state. A store that keeps the highest token seen per partition and
// refuses writes with a lower one is safe from owners that have been replaced
// and do not know it yet.
//
// Tokens are comparable with ==; Compare and Less order them. They have no order
// between partitions.
type Token struct {
	Term    uint64 `json:"term"`
	Version uint64 `json:"version"`
}

// Compare returns -1, 0 or +1 as t is older than, equal to or newer than u.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Term, u.Term), cmp.Compare(t.Version, u.Version))
}

// Less reports whether t is older than u.
func (t Token) Less(u Token) bool { return t.Compare(u) < 0 }

// IsZero reports whether t is the token of no grant.
func (t Token) IsZero() bool { return t == Token{} }

// String returns the token as "term.version"; it sorts only numerically, so use
// Compare to order tokens.
func (t Token) String() string { return fmt.Sprintf("%d.%d", t.Term, t.Version) }

// TokenFromContext returns the fencing token of the partition that ctx is for:
// the context of a call of [Manager.Run], or one made by [PartitionContext]. Of
// the latter it is the token at this moment, and none once the partition is not
// owned any more.
func TokenFromContext(ctx context.Context) (Token, bool) {
	switch v := ctx.Value(tokenKey{}).(type) {
	case Token:
		return v, true
	case ownership:
		return v.owner.Owns(v.partition)
	}
	return Token{}, false
}

// LeaseHeld reports whether what is done under ctx may still take effect: with
// [OwnershipExclusive] false from the end of the worker's lease on, by the
// worker's own clock, whether its loop has noticed or not. ctx is one that a
// [WorkerConsumerUpdater], a hook or a call of [Manager.Run] was given, or made
// from it; of any other, and with [OwnershipAvailable], it is always true. Ask
// right before every effect; a [Token] fences those that are under way.
func LeaseHeld(ctx context.Context) bool {
	m, ok := ctx.Value(ownerKey{}).(*Manager)
	return !ok || m.cfg.Ownership != OwnershipExclusive || m.board.load().leased()
}

// PartitionContext returns a context for the work on one partition from which
// [TokenFromContext] gets its token. ctx is the context, or made from the
// context, that a [WorkerConsumerUpdater] or a hook was called with; of any other
// it is returned as it is.
func PartitionContext(ctx context.Context, p Partition) context.Context {
	m, ok := ctx.Value(ownerKey{}).(*Manager)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, tokenKey{}, ownership{m, p})
}

type (
	// tokenKey's value is a Token, or an ownership that knows the present one.
	tokenKey struct{}
	// ownerKey's value is the *Manager that a context comes from.
	ownerKey struct{}

	ownership struct {
		owner     *Manager
		partition Partition
	}
)
