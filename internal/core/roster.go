package core

import (
	"slices"
	"strings"
)

// roster pairs members with seats. A leader goes through both after every event, of
// which a large fleet makes thousands a second, so it neither sorts nor looks them
// up by name each time.
type roster struct {
	members []seated  // sorted by worker
	bySeat  []*member // bySeat[i] has seat i; nil = nobody that is known
}

// seated is a member and its seat, if it has one.
type seated struct {
	*member
	seat *seat
}

// roster returns the present pairs. What it returns is not changed later, hence
// members may come and go while it is gone through.
func (l *leader) roster() roster {
	if !l.repaired {
		r := roster{members: make([]seated, 0, len(l.members)), bySeat: make([]*member, len(l.seats))}
		for _, m := range l.members {
			p := seated{member: m}
			if i, ok := l.byName[m.worker]; ok {
				p.seat = l.seats[i]
				r.bySeat[i] = m
			}
			r.members = append(r.members, p)
		}
		slices.SortFunc(r.members, func(a, b seated) int { return strings.Compare(a.worker, b.worker) })
		l.pairs, l.repaired = r, true
	}
	return l.pairs
}

// enroll adds a member, and strike removes one.
func (l *leader) enroll(m *member) {
	l.members[m.worker] = m
	l.repaired = false
}

func (l *leader) strike(w string) {
	delete(l.members, w)
	l.repaired = false
}
