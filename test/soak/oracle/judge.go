package oracle

import (
	"cmp"
	"slices"
	"time"

	"github.com/arloliu/parti"
)

// Judge judges the history of a fleet: the records of all its processes, those
// of one process in their order.
func Judge(partitions int, records []Record) *Verdict {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(a.At, b.At) })
	j := &judge{
		v:     &Verdict{Count: map[FaultKind]int{}},
		parts: make([]part, partitions),
		dead:  map[int]int64{}, leaving: map[int]*leaving{}, doubts: map[int][]doubt{},
	}
	for _, r := range records {
		j.take(r)
	}
	j.end()
	return j.v
}

type judge struct {
	v       *Verdict
	parts   []part
	dead    map[int]int64    // processes killed, and when
	leaving map[int]*leaving // by process
	outages []outage
	doubts  map[int][]doubt // by process
	moving  int             // partitions told to go and not yet granted again
	orphans int             // partitions whose owner died and that nobody has yet
}

type outage struct{ from, to int64 } // to is 0 while it lasts

// doubt is a time in which a process may have been taken for dead.
type doubt struct {
	outage
	blind bool // it may not have known
}

// leaving is what a process gives up together.
type leaving struct{ idle int64 }

// message is what is known of one message.
type message struct {
	done  bool // handled at least once
	state state
	proc  int   // that received it last
	at    int64 // when
}

type state uint8

const (
	unseen state = iota
	received
	failed // to be tried again
	handled
	answered
)

// part is a partition while the history is read.
type part struct {
	published int
	handled   int
	left      int
	msgs      []message // by number - 1
	maxN      int       // handled
	maxSeq    uint64    // likewise
	maxToken  parti.Token

	owner     int          // process; 0 = nobody
	since     int64        // granted to the owner
	ousted    map[int]bool // owners that live and whose partition others were granted; true if they could not know
	token     parti.Token
	lastSeq   uint64 // received by the owner
	open      int    // number of the message in hand; 0 = none
	handledAt int64  // by the owner; 0 = not yet
	unsure    []int  // handled by the owner, answer not known

	told     *Move // under way
	released int64 // when, by the last owner; 0 = not
	group    *leaving
	again    int  // messages of the owner that were begun before
	rewound  bool // one of them was not known to be acknowledged
	first    int  // 1 + index of the move whose first message is awaited
	orphan   int  // 1 + index of the orphan that is not served yet
}

func (p *part) msg(n int) *message {
	for len(p.msgs) < n {
		p.msgs = append(p.msgs, message{})
	}
	return &p.msgs[n-1]
}

func (j *judge) take(r Record) {
	switch r.Kind {
	case Killed:
		j.killed(r)
		return
	case OutageBegan:
		j.outages = append(j.outages, outage{from: r.At})
		j.disturb()
		return
	case OutageEnded:
		j.outages[len(j.outages)-1].to = r.At
		return
	case Doubted:
		j.doubts[r.N] = append(j.doubts[r.N], doubt{outage{from: r.At}, r.Seq != 0})
		j.disturb()
		return
	case Trusted:
		if d := j.doubts[r.N]; len(d) > 0 {
			d[len(d)-1].to = r.At
		}
		return
	case Said:
		return
	default:
	}
	if r.Part < 0 || r.Part >= len(j.parts) {
		j.v.fault(Foreign, r, "there are %d partitions", len(j.parts))
		return
	}
	p := &j.parts[r.Part]
	switch r.Kind {
	case Published:
		p.published = max(p.published, r.N)
	case Left:
		p.left += r.N
	case Planned:
		if p.told != nil {
			p.told.Replanned = true
		}
	case Granted:
		j.granted(p, r)
	case Told:
		j.told(p, r)
	case Released:
		j.released(p, r)
	case Received, Handled, Answered, Failed, Refused:
		if r.N < 1 {
			j.v.fault(Foreign, r, "no such message")
			return
		}
		j.message(p, r)
	default:
		j.v.fault(Foreign, r, "record of kind %q", r.Kind)
	}
}

func (j *judge) message(p *part, r Record) {
	m := p.msg(r.N)
	switch r.Kind {
	case Received:
		j.received(p, m, r)
	case Handled:
		j.handled(p, m, r)
	case Refused:
		j.v.Refused++
		fallthrough
	case Failed:
		if p.owner != r.Proc {
			return // what others make of the message counts
		}
		if p.open == r.N {
			p.open = 0
		}
		p.finish(r.At)
		m.state = failed
	case Answered:
		if m.proc == r.Proc && m.state == handled {
			m.state = answered
		}
	default:
	}
}

func (j *judge) received(p *part, m *message, r Record) {
	if p.ousted[r.Proc] {
		j.v.Late++ // the store refuses what comes of it
		return
	}
	if p.owner != r.Proc {
		j.v.fault(Overlap, r, "worked on by who does not have it (process %d has)", p.owner)
	}
	if m.state != unseen && m.state != failed {
		// Who takes over goes back to the first message whose acknowledgement is not
		// answered, over those behind it whose is: later ones may have overtaken it.
		if again := j.excused(m, r); again || m.state == answered && p.rewound {
			p.rewound = p.rewound || again
			j.v.Excused++
			p.again++
			j.v.MostAgain = max(j.v.MostAgain, p.again)
			if p.orphan != 0 {
				j.v.Orphans[p.orphan-1].Excused++
			}
		} else {
			j.v.fault(Duplicate, r, "begun by process %d at %d already, %s", m.proc, m.at, m.state)
		}
	}
	switch {
	case p.open != 0:
		j.v.fault(Disorder, r, "begun before message %d was done", p.open)
	case m.state == failed && r.Seq == p.lastSeq:
	case r.Seq <= p.lastSeq:
		j.v.fault(Disorder, r, "begun after message %d of the stream", p.lastSeq)
	case !m.done && r.Seq < p.maxSeq:
		j.v.fault(Disorder, r, "message %d of the stream is done already", p.maxSeq)
	}
	if p.owner == r.Proc {
		j.rests(p, r)
		p.lastSeq, p.open = max(p.lastSeq, r.Seq), r.N
	}
	*m = message{done: m.done, state: received, proc: r.Proc, at: r.At}
}

// rests measures pauses.
func (j *judge) rests(p *part, r Record) {
	if p.first != 0 {
		mv := &j.v.Moves[p.first-1]
		if mv.To == r.Proc {
			mv.First = r.At
		}
		p.first = 0
	}
	if p.orphan != 0 {
		o := &j.v.Orphans[p.orphan-1]
		if o.First == 0 && o.To == r.Proc {
			o.First = r.At
		}
	}
	if p.handledAt == 0 || p.told != nil || j.orphans > 0 || j.outage() {
		return
	}
	d := time.Duration(r.At - p.handledAt)
	if j.moving > 0 {
		j.v.Moving = append(j.v.Moving, d)
	} else {
		j.v.Calm = append(j.v.Calm, d)
	}
}

// excused tells whether a message may come again: nobody knows that its
// acknowledgement arrived, and there is a reason for that.
func (j *judge) excused(m *message, r Record) bool {
	if m.state == answered {
		return false
	}
	if at := j.dead[m.proc]; at != 0 && at <= r.At && m.proc != r.Proc {
		return true
	}
	if j.doubted(m.proc, m.at, r.At) {
		return true
	}
	return slices.ContainsFunc(j.outages, func(o outage) bool {
		return o.from <= r.At && (o.to == 0 || m.at <= o.to)
	})
}

func (j *judge) handled(p *part, m *message, r Record) {
	p.finish(r.At)
	switch {
	case r.Token.IsZero():
		j.v.NoToken++
	case r.Token.Less(p.maxToken):
		j.v.fault(Stale, r, "done under token %v, the latest is %v", r.Token, p.maxToken)
	default: // a new incarnation in the same process has a newer one
		p.maxToken = r.Token
	}
	if p.owner != r.Proc && j.dead[r.Proc] == 0 {
		j.v.fault(Overlap, r, "done by who does not have it (process %d has)", p.owner)
	}
	if p.open == r.N && p.owner == r.Proc {
		p.open, p.handledAt = 0, r.At
		p.unsure = append(p.unsure, r.N)
	}
	if !m.done {
		p.handled++
	}
	m.done = true
	if m.proc == r.Proc {
		m.state = handled
	}
	p.maxN, p.maxSeq = max(p.maxN, r.N), max(p.maxSeq, r.Seq)
}

// disturb marks what is under way.
func (j *judge) disturb() {
	for i := range j.parts {
		p := &j.parts[i]
		if p.told != nil {
			p.told.Disturbed = true
		}
		if p.first != 0 {
			j.v.Moves[p.first-1].Disturbed = true
		}
	}
}

func (j *judge) outage() bool {
	return len(j.outages) > 0 && j.outages[len(j.outages)-1].to == 0
}

func (j *judge) killed(r Record) {
	proc := r.N
	j.dead[proc] = r.At
	delete(j.leaving, proc)
	j.disturb()
	for i := range j.parts {
		p := &j.parts[i]
		if p.owner != proc {
			continue
		}
		if p.told != nil {
			p.told, p.group = nil, nil
			j.moving--
		}
		o := Orphan{Part: i, From: proc, Killed: r.At}
		for n := range p.msgs {
			if m := &p.msgs[n]; m.proc == proc && (m.state == received || m.state == handled) {
				o.Outstanding++
			}
		}
		p.own(0, parti.Token{})
		j.v.Orphans = append(j.v.Orphans, o)
		p.orphan, p.first = len(j.v.Orphans), 0
		j.orphans++
	}
}

// end judges what should have happened and did not.
func (j *judge) end() {
	for i := range j.parts {
		p := &j.parts[i]
		j.v.Published += p.published
		missing := 0
		left := p.left
		for n := 1; n <= max(p.published, len(p.msgs)); n++ {
			m := p.msg(n)
			rec := Record{Part: i, N: n, Proc: m.proc, At: m.at}
			switch {
			case n > p.published:
				j.v.fault(Foreign, rec, "nobody published it")
			case m.done:
				j.v.Handled++
			case left > 0:
				missing++
				left--
				j.v.fault(Stranded, rec, "the server still has %d", p.left)
			case n < p.maxN:
				j.v.fault(Skipped, rec, "message %d was handled", p.maxN)
			default:
				j.v.fault(Lost, rec, "message %d was the last one handled", p.maxN)
			}
		}
		for range p.left - missing {
			j.v.fault(Stranded, Record{Part: i}, "handled, and the server still has it")
		}
	}
}

func (s state) String() string {
	switch s {
	case unseen:
		return "not begun"
	case received:
		return "not finished"
	case failed:
		return "failed"
	case handled:
		return "handled, and the acknowledgement not known to be answered"
	case answered:
		return "handled, and the acknowledgement answered"
	default:
		return "?"
	}
}
