package oracle

import (
	"slices"

	"github.com/arloliu/parti"
)

// Who may work on a partition: grants, what is let go, and who cannot know better.

func (j *judge) granted(p *part, r Record) {
	if !r.Token.IsZero() && r.Token.Less(p.maxToken) && j.blind(r.Proc, 0, r.At) {
		j.v.Late++ // it slept over its own grant, and over the next
		p.oust(r.Proc, true)
		return
	}
	delete(p.ousted, r.Proc)
	if p.owner != 0 && p.owner != r.Proc {
		switch blind := j.blind(p.owner, p.since, r.At); {
		case blind, p.told != nil && p.open == 0 && j.doubted(p.owner, p.since, r.At):
			// It could not know, or it knew, and cannot say that it has let go.
			j.v.Taken++
			p.oust(p.owner, blind)
		default:
			j.v.fault(Overlap, r, "granted while process %d has it", p.owner)
		}
	}
	if !r.Token.IsZero() {
		if !p.maxToken.Less(r.Token) {
			j.v.fault(Stale, r, "granted with token %v after %v", r.Token, p.maxToken)
		}
		p.maxToken = r.Token
	}
	if p.told != nil {
		j.moving--
		switch {
		case p.told.From == r.Proc:
			j.v.Returned++
		case p.released != 0:
			p.told.To, p.told.Released, p.told.Granted = r.Proc, p.released, r.At
			if p.group != nil {
				p.told.Idle = max(p.told.Told, p.group.idle)
			}
			j.v.Moves = append(j.v.Moves, *p.told)
			p.first = len(j.v.Moves)
		}
		p.told, p.group = nil, nil
	}
	if p.orphan != 0 {
		o := &j.v.Orphans[p.orphan-1]
		if o.Granted == 0 {
			o.Granted, o.To = r.At, r.Proc
			j.orphans--
		}
	}
	p.own(r.Proc, r.Token)
	p.since, p.again, p.rewound = r.At, 0, false
}

func (p *part) own(proc int, token parti.Token) {
	p.owner, p.token, p.lastSeq, p.open, p.handledAt, p.unsure = proc, token, 0, 0, 0, nil
	p.released = 0
}

func (p *part) oust(proc int, blind bool) {
	if p.ousted == nil {
		p.ousted = make(map[int]bool)
	}
	p.ousted[proc] = blind
}

// doubted tells whether a process may have been taken for dead between two
// moments, or was afterwards.
func (j *judge) doubted(proc int, since, at int64) bool {
	return slices.ContainsFunc(j.doubts[proc], func(d doubt) bool { return d.from <= at && (d.to == 0 || d.to >= since) })
}

// blind tells whether it may not have known that.
func (j *judge) blind(proc int, since, at int64) bool {
	return slices.ContainsFunc(j.doubts[proc], func(d doubt) bool {
		return d.blind && d.from <= at && (d.to == 0 || d.to >= since)
	})
}

func (j *judge) told(p *part, r Record) {
	if p.owner != r.Proc || p.told != nil {
		return
	}
	g := j.leaving[r.Proc]
	if g == nil {
		g = &leaving{}
		j.leaving[r.Proc] = g
	}
	p.group = g
	p.told = &Move{
		Part: r.Part, From: r.Proc, Told: r.At, Idle: r.At,
		InFlight: p.open != 0, Waiting: p.published - p.handled,
		Disturbed: j.outage() || j.orphans > 0,
	}
	j.moving++
}

// finish notes that a handler of a partition that is leaving has returned.
func (p *part) finish(at int64) {
	if p.group != nil {
		p.group.idle = max(p.group.idle, at)
	}
}

func (j *judge) released(p *part, r Record) {
	delete(j.leaving, r.Proc)
	if p.owner != r.Proc {
		if _, ok := p.ousted[r.Proc]; ok {
			delete(p.ousted, r.Proc)
		} else if j.dead[r.Proc] == 0 {
			j.v.fault(Overlap, r, "let go by who does not have it (process %d has)", p.owner)
		}
		return
	}
	if r.N != 0 {
		p.unsure = nil
	}
	for _, n := range p.unsure {
		if m := p.msg(n); m.proc == r.Proc && m.state == handled {
			m.state = answered
		}
	}
	p.own(0, parti.Token{})
	p.released = r.At
}
