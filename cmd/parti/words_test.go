package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

// flat shows counts as a map.
func (c *wordCounts) flat() map[string]int64 {
	out := make(map[string]int64, len(c.words))
	for w, n := range c.words {
		out[w] = *n
	}
	return out
}

func TestCountText(t *testing.T) {
	long := strings.Repeat("x", 3*maxWord/2)
	tests := []struct {
		name, text string
		want       map[string]int64
	}{
		{"empty", "", map[string]int64{}},
		{"separators only", " \n\t-+.()", map[string]int64{}},
		{"words", "if x { return x }\n", map[string]int64{"if": 1, "x": 2, "return": 1}},
		{"underscore and digits", "a_1 a_1 _", map[string]int64{"a_1": 2, "_": 1}},
		{"numbers are not words", "1 0x10 x10 23", map[string]int64{"x10": 1}},
		{"case counts", "Go go", map[string]int64{"Go": 1, "go": 1}},
		{"no end of line", "end", map[string]int64{"end": 1}},
		{"other scripts", "größe 日本語 größe", map[string]int64{"größe": 2, "日本語": 1}},
		{"combining mark", "e\u0301a", map[string]int64{"e\u0301a": 1}},
		{"not UTF-8", "a\xffb\xc3", map[string]int64{"a": 1, "b": 1}},
		{"long run", long, map[string]int64{long[:maxWord]: 1, long[maxWord:]: 1}},
		{"long run of wide runes", strings.Repeat("日", 100), map[string]int64{
			strings.Repeat("日", 85): 1, strings.Repeat("日", 15): 1,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newWordCounts()
			c.countText([]byte(tt.text))
			if got := c.flat(); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("countText: %v, want %v", got, tt.want)
			}
			var total int64
			for _, n := range tt.want {
				total += n
			}
			if c.total != total {
				t.Errorf("total %d, want %d", c.total, total)
			}
			// Read in the smallest steps it must come to the same.
			s := newWordCounts()
			if err := s.countStream(iotest.OneByteReader(strings.NewReader(tt.text))); err != nil {
				t.Fatal(err)
			}
			if d := s.diff(c); len(d) > 0 {
				t.Errorf("countStream differs: %v", d)
			}
			back := newWordCounts()
			if err := back.addEncoded(c.encode()); err != nil {
				t.Fatal(err)
			}
			if d := back.diff(c); len(d) > 0 || back.total != c.total {
				t.Errorf("encoded and read again: %v", d)
			}
		})
	}
}

func TestAddEncodedRefuses(t *testing.T) {
	for _, bad := range []string{"a", "a 1", "a\n", "a x\n", " 1\n", "a 0\n", "a -1\n", "ok 1\na 1 2\n"} {
		c := newWordCounts()
		if err := c.addEncoded([]byte(bad)); err == nil || c.total != 0 || len(c.words) != 0 {
			t.Errorf("addEncoded(%q) = %v, with %v added", bad, err, c.flat())
		}
	}
}

func TestEncodedFitsAMessage(t *testing.T) {
	// The worst text: as many different words as there is room for.
	const digits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
	text := make([]byte, 0, pieceSize)
	for a := range 53 {
		for b := range digits {
			for c := range digits {
				if len(text)+4 <= pieceSize {
					text = append(text, digits[a], digits[b], digits[c], ' ')
				}
			}
		}
	}
	c := newWordCounts()
	c.countText(text)
	if got, limit := len(c.encode()), 1<<20-4096; len(text) < pieceSize-8 || got > limit {
		t.Errorf("%d bytes of text become %d bytes of counts, allowed are %d", len(text), got, limit)
	}
}

func TestTopAndDiff(t *testing.T) {
	a, b := newWordCounts(), newWordCounts()
	a.countText([]byte("b b a a c only_a"))
	b.countText([]byte("b b a c c only_b"))
	if got, want := fmt.Sprint(a.top(3)), "[{a 2} {b 2} {c 1}]"; got != want {
		t.Errorf("top: %s, want %s", got, want)
	}
	if got := len(a.top(100)); got != 4 {
		t.Errorf("top of more than there is: %d words", got)
	}
	if got, want := fmt.Sprint(a.diff(b)), "[{a 2 1} {c 1 2} {only_a 1 0} {only_b 0 1}]"; got != want {
		t.Errorf("diff: %s, want %s", got, want)
	}
}

func TestEachPiece(t *testing.T) {
	const limit = 300 // above maxWord
	tests := []struct {
		name, text string
		pieces     int
	}{
		{"empty", "", 1},
		{"small", "a b c", 1},
		{"exactly the limit", strings.Repeat("ab ", 100), 1},
		{"one more", strings.Repeat("ab ", 100) + "c", 2},
		{"word across the limit", strings.Repeat("a ", 149) + "abcd abcd", 2},
		{"several", strings.Repeat("word ", 299) + "w", 5},
		{"one run", strings.Repeat("x", 1000), 4},
		{"blanks only", strings.Repeat(" ", 1000), 4},
		{"wide runes", strings.Repeat("日本 ", 200), 5},
		{"rune across the limit", strings.Repeat("a ", 149) + "日日日", 2},
		{"not UTF-8", strings.Repeat("a\xff", 500), 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			whole, sum := newWordCounts(), newWordCounts()
			whole.countText([]byte(tt.text))
			var joined bytes.Buffer
			n := 0
			err := eachPiece(iotest.HalfReader(strings.NewReader(tt.text)), limit, func(p []byte) error {
				if len(p) > limit || len(p) == 0 && tt.text != "" {
					t.Errorf("piece of %d bytes", len(p))
				}
				n++
				joined.Write(p)
				sum.countText(p)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if n != tt.pieces || joined.String() != tt.text {
				t.Errorf("%d pieces of %d bytes in all, want %d of %d", n, joined.Len(), tt.pieces, len(tt.text))
			}
			if d := sum.diff(whole); len(d) > 0 || sum.total != whole.total {
				t.Errorf("the pieces do not add up: %v", d)
			}
		})
	}
}

func TestEachPieceErrors(t *testing.T) {
	broken := fmt.Errorf("broken")
	err := eachPiece(iotest.ErrReader(broken), 300, func([]byte) error { t.Error("piece of nothing"); return nil })
	if err != broken { //nolint:errorlint // as it is
		t.Errorf("error of the reader: %v", err)
	}
	err = eachPiece(strings.NewReader("a"), 300, func([]byte) error { return broken })
	if err != broken { //nolint:errorlint // as it is
		t.Errorf("error of yield: %v", err)
	}
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte("some words, and a\xffb 日本"), 300)
	f.Fuzz(func(t *testing.T, text []byte, limit int) {
		limit = maxWord + 8 + max(limit, -limit, 0)%1000
		whole, stream, sum := newWordCounts(), newWordCounts(), newWordCounts()
		whole.countText(text)
		if err := stream.countStream(bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		if err := eachPiece(bytes.NewReader(text), limit, func(p []byte) error { sum.countText(p); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(sum.diff(whole)) > 0 || len(stream.diff(whole)) > 0 {
			t.Errorf("pieces %v, stream %v, whole %v", sum.flat(), stream.flat(), whole.flat())
		}
	})
}
