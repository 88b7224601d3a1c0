package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
)

// result is what a worker found in one message.
type result struct {
	at     uint64    // of the result itself, set by who received it
	stored time.Time // likewise: when the stream took it
	seq    uint64    // of the message in the stream of work
	worker string
	part   int
	token  parti.Token
	size   int64     // bytes counted
	sent   time.Time // when the stream took the message
	counts []byte    // as wordCounts.encode writes them
}

// Headers of a result.
const (
	headerSeq    = "Work-Sequence"
	headerWorker = "Worker"
	headerPart   = "Partition"
	headerToken  = "Token"
	headerSize   = "Size"
	headerSent   = "Sent"
)

func (r result) message(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = r.counts
	m.Header.Set(headerSeq, strconv.FormatUint(r.seq, 10))
	m.Header.Set(headerWorker, r.worker)
	m.Header.Set(headerPart, strconv.Itoa(r.part))
	m.Header.Set(headerToken, r.token.String())
	m.Header.Set(headerSize, strconv.FormatInt(r.size, 10))
	m.Header.Set(headerSent, r.sent.Format(time.RFC3339Nano))
	return m
}

func parseResult(h nats.Header, data []byte) (result, error) {
	r := result{worker: h.Get(headerWorker), counts: data}
	var err1, err2, err3, err4, err5 error
	r.seq, err1 = strconv.ParseUint(h.Get(headerSeq), 10, 64)
	r.part, err2 = strconv.Atoi(h.Get(headerPart))
	_, err3 = fmt.Sscanf(h.Get(headerToken), "%d.%d", &r.token.Term, &r.token.Version)
	r.size, err4 = strconv.ParseInt(h.Get(headerSize), 10, 64)
	r.sent, err5 = time.Parse(time.RFC3339Nano, h.Get(headerSent))
	if err := cmp.Or(err1, err2, err3, err4, err5); err != nil {
		return result{}, fmt.Errorf("result of %q: %w", r.worker, err)
	}
	return r, nil
}

// tally adds up the results. The first result of a message counts; others show
// that the message was handed out again.
type tally struct {
	counts *wordCounts

	messages   map[uint64]*tallied // by sequence
	published  int
	counted    int // results of messages, each once
	matched    int // both published and counted
	duplicated int
	unordered  int   // counted behind a later message of the same partition
	bytes      int64 // of the messages counted

	last   map[int]uint64 // latest message counted, by partition
	pauses *pauses
}

// tallied is what is known of one message.
type tallied struct {
	published, counted bool
	sent               sent
}

func newTally() *tally {
	return &tally{
		counts:   newWordCounts(),
		messages: make(map[uint64]*tallied),
		last:     make(map[int]uint64),
		pauses:   newPauses(),
	}
}

func (t *tally) at(seq uint64) *tallied {
	m := t.messages[seq]
	if m == nil {
		m = new(tallied)
		t.messages[seq] = m
	}
	return m
}

// publish notes a message that the stream has taken. A result may have come
// before that.
func (t *tally) publish(s sent) {
	m := t.at(s.seq)
	if m.published {
		return // the second acknowledgement of one message
	}
	m.published, m.sent = true, s
	t.published++
	if m.counted {
		t.matched++
	}
}

// add takes a result.
func (t *tally) add(r result) error {
	m := t.at(r.seq)
	if m.counted {
		t.duplicated++
		return nil
	}
	if err := t.counts.addEncoded(r.counts); err != nil {
		return fmt.Errorf("result of %s for message %d: %w", r.worker, r.seq, err)
	}
	m.counted = true
	t.counted++
	if m.published {
		t.matched++
	}
	t.bytes += r.size
	t.pauses.add(r)
	if r.seq < t.last[r.part] {
		t.unordered++
	} else {
		t.last[r.part] = r.seq
	}
	return nil
}

// inFlight is how many messages are published and not counted.
func (t *tally) inFlight() int { return t.published - t.matched }

// percent is how much of total is counted.
func (t *tally) percent(total int) float64 { return percent(t.counted, total) }

func percent(n, total int) float64 {
	if total <= 0 {
		return 0
	}
	return 100 * float64(n) / float64(total)
}

// lost returns the messages that were published and not counted, in order.
func (t *tally) lost() []sent {
	var out []sent
	for _, m := range t.messages {
		if m.published && !m.counted {
			out = append(out, m.sent)
		}
	}
	slices.SortFunc(out, func(a, b sent) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// verdict says what is wrong with the run, nothing when all is well.
func (t *tally) verdict(in *input) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if t.published != in.messages {
		say("%d messages published, the input has %d", t.published, in.messages)
	}
	if lost := t.lost(); len(lost) > 0 {
		say("%d messages lost, the first of them piece %d of %s (sequence %d)",
			len(lost), lost[0].piece, in.files[lost[0].file].path, lost[0].seq)
	}
	if n := t.counted - t.matched; n > 0 {
		say("%d messages counted that nobody published", n)
	}
	if t.unordered > 0 {
		say("%d messages counted behind a later one of the same partition", t.unordered)
	}
	if t.counts.total != in.want.total {
		say("%s words counted, one process counts %s", thousands(t.counts.total), thousands(in.want.total))
	}
	if diff := t.counts.diff(in.want); len(diff) > 0 {
		d := diff[0]
		say("%d words differ, the first of them %q: %d, one process counts %d", len(diff), d.word, d.got, d.want)
	}
	return wrong
}
