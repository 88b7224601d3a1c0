package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
)

func TestResultRoundTrip(t *testing.T) {
	want := result{seq: 7, worker: "worker-3", part: 2, token: parti.Token{Term: 5, Version: 9}, size: 12, sent: time.Unix(3, 4), counts: []byte("a 1\n")}
	m := want.message("subject")
	got, err := parseResult(m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if got.seq != want.seq || got.worker != want.worker || got.part != want.part || got.token != want.token ||
		got.size != want.size || !got.sent.Equal(want.sent) || string(got.counts) != "a 1\n" {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, h := range []string{headerSeq, headerPart, headerToken, headerSize, headerSent} {
		m := want.message("subject")
		m.Header.Set(h, "x")
		if _, err := parseResult(m.Header, m.Data); err == nil {
			t.Errorf("result with a bad %s: no error", h)
		}
	}
	if _, err := parseResult(nats.Header{}, nil); err == nil {
		t.Error("result without headers: no error")
	}
}

// step is a message published (pub) or a result.
type step struct {
	pub, res uint64
	part     int
	text     string
}

func TestTally(t *testing.T) {
	pub := func(seq uint64) step { return step{pub: seq} }
	res := func(seq uint64, part int, text string) step { return step{res: seq, part: part, text: text} }
	in := &input{
		files:    []inputFile{{path: "the/file"}},
		messages: 3,
		want:     newWordCounts(),
	}
	in.want.countText([]byte("a b c"))
	all := []step{pub(1), res(1, 0, "a"), pub(2), pub(3), res(2, 1, "b"), res(3, 0, "c")}
	tests := []struct {
		name                                string
		steps                               []step
		counted, duplicated, lost, inFlight int
		unordered                           int
		says                                []string // parts of the verdict, none when all is well
		total                               int64
	}{
		{name: "all well", steps: all, counted: 3, total: 3},
		{name: "result before its acknowledgement", steps: []step{res(1, 0, "a"), pub(1), pub(2), res(3, 0, "c"), res(2, 1, "b"), pub(3)}, counted: 3, total: 3},
		{name: "second result is a duplicate", steps: append(all[:6:6], res(3, 0, "c")), counted: 3, duplicated: 1, total: 3},
		{name: "acknowledged twice", steps: append(all[:6:6], pub(3)), counted: 3, total: 3},
		{
			name: "lost", steps: all[:5], counted: 2, lost: 1, inFlight: 1, total: 2,
			says: []string{"1 messages lost, the first of them piece 0 of the/file (sequence 3)", "2 words counted, one process counts 3", `1 words differ, the first of them "c": 0, one process counts 1`},
		},
		{
			name: "not published", steps: all[:2], counted: 1, total: 1,
			says: []string{"1 messages published, the input has 3", "words counted", "words differ"},
		},
		{
			name: "invented", steps: append(all[:6:6], res(9, 1, "z")), counted: 4, total: 4,
			says: []string{"1 messages counted that nobody published", "4 words counted", `"z": 1, one process counts 0`},
		},
		{
			name: "same total, other words", steps: []step{pub(1), pub(2), pub(3), res(1, 0, "a"), res(2, 0, "b"), res(3, 0, "d")}, counted: 3, total: 3,
			says: []string{"2 words differ"},
		},
		{
			name: "out of order in a partition", steps: []step{pub(1), pub(2), pub(3), res(3, 0, "c"), res(1, 0, "a"), res(2, 1, "b")}, counted: 3, unordered: 1, total: 3,
			says: []string{"1 messages counted behind a later one of the same partition"},
		},
		{
			name: "late duplicate is not out of order", steps: append(all[:6:6], res(1, 0, "a")), counted: 3, duplicated: 1, total: 3,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := newTally()
			for _, s := range tt.steps {
				if s.pub > 0 {
					tl.publish(sent{seq: s.pub})
					continue
				}
				c := newWordCounts()
				c.countText([]byte(s.text))
				if err := tl.add(result{seq: s.res, part: s.part, counts: c.encode(), size: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if tl.counted != tt.counted || tl.duplicated != tt.duplicated || len(tl.lost()) != tt.lost ||
				tl.inFlight() != tt.inFlight || tl.unordered != tt.unordered || tl.counts.total != tt.total || tl.bytes != int64(tt.counted) {
				t.Errorf("counted %d, duplicated %d, lost %d, in flight %d, unordered %d, total %d, bytes %d", tl.counted,
					tl.duplicated, len(tl.lost()), tl.inFlight(), tl.unordered, tl.counts.total, tl.bytes)
			}
			verdict := tl.verdict(in)
			if len(verdict) != len(tt.says) {
				t.Fatalf("verdict %q, want %q", verdict, tt.says)
			}
			for i, s := range tt.says {
				if !strings.Contains(verdict[i], s) {
					t.Errorf("verdict %q, want %q", verdict[i], s)
				}
			}
		})
	}
}

func TestTallyRefusesUnreadableCounts(t *testing.T) {
	tl := newTally()
	if err := tl.add(result{seq: 1, counts: []byte("x")}); err == nil || tl.counted != 0 {
		t.Errorf("error %v, counted %d", err, tl.counted)
	}
}

func TestPercent(t *testing.T) {
	tests := []struct {
		n, total int
		want     float64
	}{{0, 0, 0}, {1, 0, 0}, {0, 4, 0}, {1, 4, 25}, {4, 4, 100}}
	for _, tt := range tests {
		if got := percent(tt.n, tt.total); got != tt.want {
			t.Errorf("percent(%d, %d) = %v, want %v", tt.n, tt.total, got, tt.want)
		}
	}
}
