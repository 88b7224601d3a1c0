package oracle

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/arloliu/parti"
)

// story makes a history: each act comes a millisecond after the one before.
type story struct {
	at      int64
	records []Record
}

const ms = int64(time.Millisecond)

func (s *story) add(r Record) *story {
	s.at += ms
	r.At = s.at
	s.records = append(s.records, r)
	return s
}

// grant, tell, release, work: partition 0 unless said otherwise.
func (s *story) grant(proc int, version uint64) *story {
	return s.add(Record{Proc: proc, Kind: Granted, Token: parti.Token{Term: 1, Version: version}})
}
func (s *story) tell(proc int) *story    { return s.add(Record{Proc: proc, Kind: Told}) }
func (s *story) release(proc int) *story { return s.add(Record{Proc: proc, Kind: Released}) }
func (s *story) move(from, to int, version uint64) *story {
	return s.tell(from).release(from).grant(to, version)
}
func (s *story) publish(n int) *story { return s.add(Record{Kind: Published, N: n}) }
func (s *story) kill(proc int) *story { return s.add(Record{Kind: Killed, N: proc}) }
func (s *story) left(n int) *story    { return s.add(Record{Kind: Left, N: n}) }

func (s *story) message(kind Kind, proc int, version uint64, n int) *story {
	return s.add(Record{Proc: proc, Kind: kind, N: n, Seq: uint64(10 * n), Token: parti.Token{Term: 1, Version: version}})
}

func (s *story) work(proc int, version uint64, ns ...int) *story {
	for _, n := range ns {
		s.message(Received, proc, version, n).message(Handled, proc, version, n)
	}
	return s
}

// doubt has a process taken for dead; blind is one that may not know.
func (s *story) doubt(proc int, blind bool) *story {
	r := Record{Kind: Doubted, N: proc}
	if blind {
		r.Seq = 1
	}
	return s.add(r)
}
func (s *story) trust(proc int) *story { return s.add(Record{Kind: Trusted, N: proc}) }

// good is a history of two owners without a fault: ten messages, a move after five.
func good() *story {
	return new(story).publish(10).grant(1, 1).work(1, 1, 1, 2, 3, 4, 5).move(1, 2, 2).work(2, 2, 6, 7, 8, 9, 10)
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name    string
		story   *story
		want    map[FaultKind]int
		excused int
	}{
		{"good", good(), nil, 0},
		{"no move", new(story).publish(2).grant(1, 1).work(1, 1, 1, 2), nil, 0},
		{"lost at the end", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2), map[FaultKind]int{Lost: 1}, 0},
		{"all lost", new(story).publish(3), map[FaultKind]int{Lost: 3}, 0},
		{
			"begun and never done", new(story).publish(2).grant(1, 1).work(1, 1, 1).message(Received, 1, 1, 2),
			map[FaultKind]int{Lost: 1},
			0,
		},
		{"skipped", new(story).publish(3).grant(1, 1).work(1, 1, 1, 3), map[FaultKind]int{Skipped: 1}, 0},
		{
			"skipped over a move", new(story).publish(4).grant(1, 1).work(1, 1, 1, 2).move(1, 2, 2).work(2, 2, 4),
			map[FaultKind]int{Skipped: 1},
			0,
		},
		{"stranded", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2).left(1), map[FaultKind]int{Stranded: 1}, 0},
		{"stranded in the middle", new(story).publish(3).grant(1, 1).work(1, 1, 1, 3).left(1), map[FaultKind]int{Stranded: 1}, 0},
		{"never acknowledged", good().left(2), map[FaultKind]int{Stranded: 2}, 0},
		{"duplicate", new(story).publish(2).grant(1, 1).work(1, 1, 1, 2).move(1, 2, 2).work(2, 2, 2), map[FaultKind]int{Duplicate: 1}, 0},
		{
			"duplicate at the same owner", new(story).publish(1).grant(1, 1).work(1, 1, 1, 1),
			map[FaultKind]int{Duplicate: 1, Disorder: 1},
			0,
		},
		{
			"duplicate of a message whose handler was cut off",
			new(story).publish(1).grant(1, 1).message(Received, 1, 1, 1).move(1, 2, 2).work(2, 2, 1),
			map[FaultKind]int{Duplicate: 1},
			0,
		},
		{
			"failed and tried again", new(story).publish(2).grant(1, 1).
				message(Received, 1, 1, 1).message(Failed, 1, 1, 1).work(1, 1, 1, 2), nil, 0,
		},
		{
			"failed and tried again by the next", new(story).publish(2).grant(1, 1).
				message(Received, 1, 1, 1).message(Failed, 1, 1, 1).move(1, 2, 2).work(2, 2, 1, 2), nil, 0,
		},
		{
			"excused: killed before the acknowledgement", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2).kill(1).
				grant(2, 2).work(2, 2, 2, 3), nil, 1,
		},
		{
			"excused: killed in the handler", new(story).publish(2).grant(1, 1).work(1, 1, 1).
				message(Received, 1, 1, 2).kill(1).grant(2, 2).work(2, 2, 2), nil, 1,
		},
		{
			"not excused: the acknowledgement was answered", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2).
				message(Answered, 1, 1, 2).kill(1).grant(2, 2).work(2, 2, 2, 3), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"not excused: answered when it let go", new(story).publish(3).grant(1, 1).work(1, 1, 1).move(1, 2, 2).
				kill(1).work(2, 2, 1, 2, 3), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"not excused: another was killed", new(story).publish(2).grant(1, 1).work(1, 1, 1).tell(1).kill(3).
				release(1).grant(2, 2).work(2, 2, 1, 2), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"excused: a server was down", new(story).publish(2).grant(1, 1).work(1, 1, 1).add(Record{Kind: OutageBegan}).
				add(Record{Kind: OutageEnded}).tell(1).add(Record{Proc: 1, Kind: Said}).grant(2, 2).work(2, 2, 1, 2),
			map[FaultKind]int{Overlap: 1},
			1, // it did not let go
		},
		{
			"excused: revoked while a server was down", new(story).publish(2).grant(1, 1).add(Record{Kind: OutageBegan}).
				work(1, 1, 1).tell(1).add(Record{Proc: 1, Kind: Released, N: 1}).add(Record{Kind: OutageEnded}).
				grant(2, 2).work(2, 2, 1, 2), nil, 1,
		},
		{
			"not excused: let go in order while a server was down", new(story).publish(2).grant(1, 1).add(Record{Kind: OutageBegan}).
				work(1, 1, 1).move(1, 2, 2).add(Record{Kind: OutageEnded}).work(2, 2, 1, 2), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"not excused: revoked without a reason", new(story).publish(2).grant(1, 1).work(1, 1, 1).
				tell(1).add(Record{Proc: 1, Kind: Released, N: 1}).grant(2, 2).work(2, 2, 1, 2), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"not excused: the server was down before", new(story).publish(2).add(Record{Kind: OutageBegan}).
				add(Record{Kind: OutageEnded}).grant(1, 1).work(1, 1, 1).move(1, 2, 2).work(2, 2, 1, 2),
			map[FaultKind]int{Duplicate: 1},
			0,
		},
		{"out of order", new(story).publish(3).grant(1, 1).work(1, 1, 1, 3, 2), map[FaultKind]int{Disorder: 1}, 0},
		{
			"out of order over a move", new(story).publish(3).grant(1, 1).work(1, 1, 1, 3).move(1, 2, 2).work(2, 2, 2),
			map[FaultKind]int{Disorder: 1},
			0,
		},
		{
			"side by side", new(story).publish(2).grant(1, 1).message(Received, 1, 1, 1).message(Received, 1, 1, 2).
				message(Handled, 1, 1, 1).message(Handled, 1, 1, 2), map[FaultKind]int{Disorder: 1}, 0,
		},
		{
			"two owners", new(story).publish(2).grant(1, 1).work(1, 1, 1).grant(2, 2).work(2, 2, 2),
			map[FaultKind]int{Overlap: 1},
			0,
		},
		{
			"work after letting go", new(story).publish(2).grant(1, 1).work(1, 1, 1).move(1, 2, 2).work(1, 2, 2),
			map[FaultKind]int{Overlap: 2},
			0, // begun and done
		},
		{
			"handler outlives the release", new(story).publish(1).grant(1, 1).message(Received, 1, 1, 1).move(1, 2, 2).
				message(Handled, 1, 2, 1), map[FaultKind]int{Overlap: 1}, 0,
		},
		{
			"stale token accepted", new(story).publish(2).grant(1, 1).work(1, 1, 1).move(1, 2, 2).work(2, 1, 2),
			map[FaultKind]int{Stale: 1},
			0,
		},
		{
			"token granted twice", new(story).publish(2).grant(1, 1).work(1, 1, 1).move(1, 2, 1).work(2, 1, 2),
			map[FaultKind]int{Stale: 1},
			0,
		},
		{
			"taken from who is stopped", new(story).publish(3).grant(1, 1).work(1, 1, 1).doubt(1, true).grant(2, 2).work(2, 2, 2).
				trust(1).tell(1).release(1).work(2, 2, 3), nil, 0,
		},
		{
			"taken from who knows", new(story).publish(2).grant(1, 1).work(1, 1, 1).doubt(1, false).grant(2, 2).work(2, 2, 2),
			map[FaultKind]int{Overlap: 1},
			0,
		},
		{
			"taken from who knew", new(story).publish(2).grant(1, 1).work(1, 1, 1).doubt(1, false).tell(1).grant(2, 2).release(1).
				work(2, 2, 2), nil, 0,
		},
		{
			"taken from who knew and works", new(story).publish(2).grant(1, 1).message(Received, 1, 1, 1).doubt(1, false).tell(1).
				grant(2, 2).work(2, 2, 1, 2), map[FaultKind]int{Overlap: 1}, 1,
		},
		{
			"begun late by who knew", new(story).publish(2).grant(1, 1).work(1, 1, 1).doubt(1, false).tell(1).grant(2, 2).
				message(Received, 1, 1, 2).message(Refused, 1, 1, 2).work(2, 2, 2),
			map[FaultKind]int{Overlap: 1},
			1,
		},
		{
			"taken after the doubt was over", new(story).publish(2).doubt(1, true).trust(1).grant(1, 1).work(1, 1, 1).grant(2, 2).work(2, 2, 2),
			map[FaultKind]int{Overlap: 1},
			0,
		},
		{
			"begun late and refused", new(story).publish(3).grant(1, 1).work(1, 1, 1).doubt(1, true).grant(2, 2).trust(1).
				message(Received, 1, 1, 2).message(Refused, 1, 1, 2).work(2, 2, 2, 3), nil, 0,
		},
		{
			"begun late and accepted", new(story).publish(3).grant(1, 1).work(1, 1, 1).doubt(1, true).grant(2, 2).trust(1).
				message(Received, 1, 1, 2).message(Handled, 1, 1, 2).work(2, 2, 2, 3),
			map[FaultKind]int{Stale: 1, Overlap: 1},
			0,
		},
		{
			"slept over a grant", new(story).publish(1).doubt(1, true).grant(2, 2).trust(1).grant(1, 1).work(2, 2, 1).release(1), nil, 0,
		},
		{
			"excused: doubted before the acknowledgement", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2).doubt(1, true).
				grant(2, 2).work(2, 2, 2, 3), nil, 1,
		},
		{
			"not excused: doubted before that", new(story).publish(2).doubt(1, true).trust(1).grant(1, 1).work(1, 1, 1).move(1, 2, 2).
				work(2, 2, 1, 2), map[FaultKind]int{Duplicate: 1}, 0,
		},
		{
			"excused: behind a message without an answer", new(story).publish(3).grant(1, 1).work(1, 1, 1, 2).
				message(Answered, 1, 1, 2).kill(1).grant(2, 2).work(2, 2, 1, 2, 3), nil, 2,
		},
		{
			"not excused: before a message without an answer", new(story).publish(3).grant(1, 1).work(1, 1, 1).
				message(Answered, 1, 1, 1).work(1, 1, 2).kill(1).grant(2, 2).work(2, 2, 1, 2, 3), map[FaultKind]int{Duplicate: 1}, 1,
		},
		{"unknown message", good().work(2, 2, 11), map[FaultKind]int{Foreign: 1}, 0},
		{"unknown partition", good().add(Record{Kind: Granted, Proc: 1, Part: 7}), map[FaultKind]int{Foreign: 1}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(1, tt.story.records)
			if tt.want == nil {
				tt.want = map[FaultKind]int{}
			}
			if !maps.Equal(v.Count, tt.want) {
				t.Errorf("faults %v, want %v\n%v", v.Count, tt.want, v.Faults)
			}
			if v.Excused != tt.excused {
				t.Errorf("%d duplicates excused, want %d", v.Excused, tt.excused)
			}
			if v.OK() != (len(tt.want) == 0) {
				t.Errorf("OK is %v", v.OK())
			}
		})
	}
}

func TestCounts(t *testing.T) {
	v := Judge(1, good().records)
	if v.Published != 10 || v.Handled != 10 {
		t.Errorf("published %d, handled %d, want 10 and 10", v.Published, v.Handled)
	}
}

// A move with a handler running when it begins: what counts as pause is what
// comes after that handler.
func TestMove(t *testing.T) {
	s := new(story).publish(10).grant(1, 1).work(1, 1, 1, 2).message(Received, 1, 1, 3)
	told := s.tell(1).at
	idle := s.message(Handled, 1, 1, 3).at
	released := s.release(1).at
	granted := s.grant(2, 2).at
	first := s.message(Received, 2, 2, 4).at
	v := Judge(1, s.records)
	want := Move{Part: 0, From: 1, To: 2, Told: told, Released: released, Granted: granted, First: first, Idle: idle, InFlight: true, Waiting: 8}
	if len(v.Moves) != 1 || v.Moves[0] != want {
		t.Fatalf("moves %+v, want %+v", v.Moves, want)
	}
	if d := v.Moves[0].Pause(); d != 3*time.Millisecond {
		t.Errorf("pause %v", d)
	}
}

// The giver lets go of everything together, hence what ran for another partition
// that left with it does not count as pause either.
func TestMoveWaitsForOthers(t *testing.T) {
	other := func(s *story, kind Kind) *story { return s.add(Record{Proc: 1, Kind: kind, Part: 1, N: 1, Seq: 5}) }
	s := new(story).publish(10).grant(1, 1)
	other(other(s, Granted), Received)
	other(s.tell(1), Told)
	idle := other(s, Handled).at
	other(s.release(1), Released)
	s.grant(2, 2).message(Received, 2, 2, 1)
	v := Judge(2, s.records)
	if len(v.Moves) != 1 || v.Moves[0].Idle != idle || v.Moves[0].InFlight {
		t.Errorf("moves %+v, want one idle from %d on, with nothing in flight", v.Moves, idle)
	}
}

func TestReplanned(t *testing.T) {
	plan := func(s *story) *story { return s.add(Record{Proc: 3, Kind: Planned, N: 2}) }
	before := plan(new(story).publish(1).grant(1, 1)).tell(1).release(1).grant(2, 2)
	while := plan(new(story).publish(1).grant(1, 1).tell(1)).release(1).grant(2, 2)
	back := plan(new(story).publish(1).grant(1, 1).tell(1)).release(1).grant(1, 2)
	for i, s := range []*story{before, while} {
		if v := Judge(1, s.records); len(v.Moves) != 1 || v.Moves[0].Replanned != (i == 1) || v.Returned != 0 {
			t.Errorf("history %d: moves %+v, returned %d", i, v.Moves, v.Returned)
		}
	}
	if v := Judge(1, back.records); len(v.Moves) != 0 || v.Returned != 1 {
		t.Errorf("taken back: moves %+v, returned %d", v.Moves, v.Returned)
	}
}

// A partition whose owner was killed has not moved by plan.
func TestOrphan(t *testing.T) {
	s := new(story).publish(4).grant(1, 1).work(1, 1, 1).message(Answered, 1, 1, 1).work(1, 1, 2).tell(1)
	killed := s.kill(1).at
	granted := s.grant(2, 2).at
	first := s.message(Received, 2, 2, 2).at
	v := Judge(1, s.message(Handled, 2, 2, 2).work(2, 2, 3, 4).records)
	want := Orphan{From: 1, Killed: killed, Granted: granted, First: first, To: 2, Excused: 1, Outstanding: 1}
	if len(v.Moves) != 0 || len(v.Orphans) != 1 || v.Orphans[0] != want || !v.OK() {
		t.Errorf("moves %+v, orphans %+v, want %+v, faults %v", v.Moves, v.Orphans, want, v.Faults)
	}
}

// What is begun again is counted for each grant.
func TestMostAgain(t *testing.T) {
	s := new(story).publish(4).grant(1, 1).work(1, 1, 1, 2, 3).kill(1).grant(2, 2).work(2, 2, 1, 2, 3, 4).kill(2).grant(3, 3).work(3, 3, 4)
	if v := Judge(1, s.records); v.Excused != 4 || v.MostAgain != 3 || !v.OK() {
		t.Errorf("excused %d, most %d, faults %v, want 4, 3 and none", v.Excused, v.MostAgain, v.Faults)
	}
}

// What becomes of a partition that is taken from who lives.
func TestTaken(t *testing.T) {
	s := new(story).publish(3).grant(1, 1).work(1, 1, 1).doubt(1, true).grant(2, 2).trust(1).
		message(Received, 1, 1, 2).message(Refused, 1, 1, 2).work(2, 2, 2, 3)
	if v := Judge(1, s.records); v.Taken != 1 || v.Late != 1 || v.Refused != 1 || !v.OK() {
		t.Errorf("taken %d, late %d, refused %d, faults %v, want 1, 1, 1 and none", v.Taken, v.Late, v.Refused, v.Faults)
	}
}

// A kill anywhere excuses nothing, but spoils the times of moves.
func TestDisturbed(t *testing.T) {
	s := new(story).publish(3).grant(1, 1).tell(1).kill(3).release(1).grant(2, 2).work(2, 2, 1, 2, 3)
	if v := Judge(1, s.records); len(v.Moves) != 1 || !v.Moves[0].Disturbed {
		t.Errorf("moves %+v, want one disturbed", v.Moves)
	}
}

func TestRests(t *testing.T) {
	s := new(story).publish(4).grant(1, 1).work(1, 1, 1, 2)
	s.add(Record{Proc: 2, Kind: Granted, Part: 1}).add(Record{Proc: 2, Kind: Told, Part: 1})
	s.work(1, 1, 3)
	v := Judge(2, s.records)
	if fmt.Sprint(v.Calm, v.Moving) != "[1ms] [3ms]" {
		t.Errorf("calm %v, moving %v", v.Calm, v.Moving)
	}
}

func TestRecords(t *testing.T) {
	recs := []Record{
		{At: 1, Kind: Received, Part: 2, N: 3, Seq: 4, Token: parti.Token{Term: 5, Version: 6}},
		{At: 7, Kind: Said, Text: "one two"},
	}
	var b []byte
	for _, r := range recs {
		b = r.Append(b)
	}
	got, err := Read(strings.NewReader(string(b)+"R 12 3"), 9)
	if err != nil || len(got) != len(recs) {
		t.Fatalf("read %+v, %v", got, err)
	}
	for i, r := range recs {
		if r.Proc = 9; got[i] != r {
			t.Errorf("record %d: %+v, want %+v", i, got[i], r)
		}
	}
	for _, bad := range []string{"", "R 1 2\n", "RR 1 2 3 4 5 6\n", "R 1 2 3 4 5 x\n"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	lines := Record{Text: "a\nb"}.Append(nil)
	if strings.Count(string(lines), "\n") != 1 {
		t.Errorf("%q is not one line", lines)
	}
}
