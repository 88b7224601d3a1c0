package core

import "math"

// The bodies of the packed records, field by field. A new field goes to the end
// of its record and raises the format.

func (headRecord) kind() byte  { return 'h' }
func (partRecord) kind() byte  { return 'a' }
func (drainRecord) kind() byte { return 'd' }

// maxSeats bounds what a head may claim.
const maxSeats = 1 << 16

// What a seat has; bits.
const (
	seatVacant = 1 << iota
	seatDrains
	seatAway
	seatCapacity
)

func (h headRecord) pack(w *packWriter) {
	w.version(h.at())
	w.str(h.Leader)
	w.str(h.LeaderInc)
	w.bool(h.Rebuild)
	w.bool(h.Owes)
	w.uint(h.Root)
	w.version(h.Base)
	w.uint(uint64(max(h.Lease, 0)))
	w.str(h.Lifecycle)
	w.uint(uint64(max(h.Window, 0)))
	w.str(h.Created)
	w.str(h.App)
	w.str(h.List)
	w.uint(uint64(len(h.Seats)))
	for _, s := range h.Seats {
		w.str(s.Worker)
		w.str(s.Inc)
		has := uint64(0)
		if s.Vacant {
			has |= seatVacant
		}
		if !s.Drain.none() {
			has |= seatDrains
		}
		if s.Away != 0 {
			has |= seatAway
		}
		if s.Capacity != nil {
			has |= seatCapacity
		}
		w.uint(has)
		w.ref(s.Part)
		if has&seatDrains != 0 {
			w.ref(s.Drain)
		}
		if has&seatAway != 0 {
			w.uint(uint64(max(s.Away, 0)))
		}
		if has&seatCapacity != 0 {
			w.uint(math.Float64bits(*s.Capacity))
		}
	}
}

func (h *headRecord) unpack(r *packReader) {
	h.formatted = ours
	at := r.version()
	h.Term, h.Version = at.Term, at.Version
	h.Leader, h.LeaderInc = r.str(), r.str()
	h.Rebuild, h.Owes, h.Root, h.Base, h.Lease = r.bool(), r.bool(), r.uint(), r.version(), r.millis()
	h.Lifecycle, h.Window = r.str(), r.millis()
	h.Created, h.App, h.List = r.str(), r.str(), r.str()
	n := r.count(5)
	if n > maxSeats {
		r.fail(errTruncated)
		n = 0
	}
	h.Seats = make([]headSeat, n)
	for i := range h.Seats {
		s := &h.Seats[i]
		s.Worker, s.Inc = r.str(), r.str()
		has := r.uint()
		s.Vacant, s.Part = has&seatVacant != 0, r.ref()
		if has&seatDrains != 0 {
			s.Drain = r.ref()
		}
		if has&seatAway != 0 {
			s.Away = r.millis()
		}
		if has&seatCapacity != 0 {
			s.Capacity = new(math.Float64frombits(r.uint()))
		}
	}
}

func (p partRecord) pack(w *packWriter) {
	w.str(p.Inc)
	w.ref(p.Base)
	w.ids(p.Removed)
	w.grants(p.Grants)
}

func (w *packWriter) grants(lists []grantList) {
	w.uint(uint64(len(lists)))
	for _, g := range lists {
		w.version(version{g.Term, g.Version})
		w.ids(g.IDs)
		w.weights(g.Weights)
	}
}

func (p *partRecord) unpack(r *packReader) {
	p.formatted = ours
	p.Inc, p.Base, p.Removed = r.str(), r.ref(), r.ids()
	p.Grants = r.grants()
}

func (r *packReader) grants() []grantList {
	lists := make([]grantList, r.count(4))
	for i := range lists {
		g := &lists[i]
		at := r.version()
		g.Term, g.Version = at.Term, at.Version
		g.IDs = r.ids()
		g.Weights = r.weights(len(g.IDs))
	}
	return lists
}

func (heldRecord) kind() byte { return 'k' }

func (h heldRecord) pack(w *packWriter) {
	w.str(h.Inc)
	for _, n := range []uint64{h.Seq, h.For, h.Root, h.Seen, h.Term, h.Version, uint64(max(h.Lease, 0))} {
		w.uint(n)
	}
	w.bool(h.Named)
	w.grants(h.Grants)
	ids, weights := make([]string, len(h.Drains)), make([]int64, len(h.Drains))
	for i, d := range h.Drains {
		ids[i], weights[i] = d.ID, d.Weight
	}
	w.ids(ids)
	w.weights(weights)
}

func (h *heldRecord) unpack(r *packReader) {
	h.formatted = ours
	h.Inc = r.str()
	for _, n := range []*uint64{&h.Seq, &h.For, &h.Root, &h.Seen, &h.Term, &h.Version} {
		*n = r.uint()
	}
	h.Lease, h.Named, h.Grants = r.millis(), r.bool(), r.grants()
	ids := r.ids()
	weights := r.weights(len(ids))
	h.Drains = make([]heldDrain, len(weights))
	for i := range h.Drains {
		h.Drains[i] = heldDrain{ID: ids[i], Weight: weights[i]}
	}
}

// Incarnations and next owners repeat, so they are written once.
func (d drainRecord) pack(w *packWriter) {
	var names []string
	index := map[string]uint64{}
	name := func(s string) uint64 {
		i, ok := index[s]
		if !ok {
			i = uint64(len(names))
			index[s] = i
			names = append(names, s)
		}
		return i
	}
	for _, e := range d.Items {
		name(e.Inc)
		name(e.Next)
	}
	w.strs(names)
	ids, weights := make([]string, len(d.Items)), make([]int64, len(d.Items))
	for i, e := range d.Items {
		ids[i], weights[i] = e.ID, e.Weight
	}
	w.ids(ids)
	w.weights(weights)
	for _, e := range d.Items {
		w.uint(name(e.Inc))
		w.uint(name(e.Next))
		w.version(e.Release)
	}
}

func (d *drainRecord) unpack(r *packReader) {
	d.formatted = ours
	names := r.strs()
	name := func() string {
		if i := r.uint(); i < uint64(len(names)) {
			return names[i]
		}
		r.fail(errTruncated)
		return ""
	}
	ids := r.ids()
	weights := r.weights(len(ids))
	d.Items = make([]drainEntry, len(weights))
	for i := range d.Items {
		d.Items[i] = drainEntry{ID: ids[i], Weight: weights[i], Inc: name(), Next: name(), Release: r.version()}
	}
}

func (chunkRecord) kind() byte { return 'c' }

func (c chunkRecord) pack(w *packWriter) {
	w.uint(uint64(c.Count))
	w.b = append(w.b, c.Data...)
}

func (c *chunkRecord) unpack(r *packReader) {
	c.formatted = ours
	if n := r.uint(); n <= maxChunks {
		c.Count = int(n)
	} else {
		r.fail(errTruncated)
	}
	c.Data, r.s = []byte(r.s), ""
}
