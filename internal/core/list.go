package core

// List is a list of partitions as read from the source, in the source's order,
// checked: ids are not empty and unique. It is never changed.
type List struct {
	IDs     []string
	Weights []int64 // effective: > 0
	// Digest tells lists apart: equal for equal sets of ids and weights,
	// whatever their order.
	Digest string
	// IDDigest is the same over the ids alone.
	IDDigest string
}

// Token is a fencing token: see parti.Token.
type Token struct{ Term, Version uint64 }

// Less reports whether t is older than u.
func (t Token) Less(u Token) bool {
	return t.Term < u.Term || t.Term == u.Term && t.Version < u.Version
}

// Owned is a partition held by this worker.
type Owned struct {
	ID     string
	Weight int64
	Token  Token
}
