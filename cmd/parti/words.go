package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// A word is a run of letters, marks, digits and underscores that does not begin
// with a digit. A run of more than maxWord bytes is taken for several, so that a
// file without blanks (base64, say) can be cut into pieces too.
const maxWord = 256

func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// scanWord is a bufio.SplitFunc that returns words and numbers. It advances over what
// separates them, bytes that are not UTF-8 included.
func scanWord(data []byte, atEOF bool) (advance int, word []byte, err error) {
	start, i := -1, 0
	for i < len(data) {
		r, n := rune(data[i]), 1
		if r >= utf8.RuneSelf {
			if !atEOF && !utf8.FullRune(data[i:]) {
				break // the rest of the rune is still to come
			}
			r, n = utf8.DecodeRune(data[i:])
		}
		switch in := isWord(r); {
		case start < 0 && in:
			start = i
		case start >= 0 && (!in || i+n-start > maxWord):
			return i, data[start:i], nil
		}
		i += n
	}
	switch {
	case start < 0:
		return i, nil, nil
	case atEOF:
		return i, data[start:i], nil
	}
	return start, nil, nil
}

// wordCounts says how often each word was seen.
type wordCounts struct {
	words map[string]*int64
	total int64
}

func newWordCounts() *wordCounts { return &wordCounts{words: make(map[string]*int64)} }

// see counts a run that scanWord returned, unless it is a number.
func (c *wordCounts) see(run []byte) {
	if len(run) > 0 && (run[0] < '0' || run[0] > '9') {
		c.add(run, 1)
	}
}

func (c *wordCounts) add(word []byte, n int64) {
	c.total += n
	if p, ok := c.words[string(word)]; ok { // does not allocate
		*p += n
		return
	}
	c.words[string(word)] = &n
}

func (c *wordCounts) merge(d *wordCounts) {
	for w, n := range d.words {
		c.add([]byte(w), *n)
	}
}

// countText counts the words of a whole text.
func (c *wordCounts) countText(text []byte) {
	for {
		n, w, _ := scanWord(text, true)
		c.see(w)
		if n == 0 {
			return
		}
		text = text[n:]
	}
}

// countStream counts the words of what it reads, without cutting it.
func (c *wordCounts) countStream(r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Split(scanWord)
	for s.Scan() {
		c.see(s.Bytes())
	}
	return s.Err()
}

// wordCount is one word and how often it was seen.
type wordCount struct {
	word string
	n    int64
}

// top returns the k most frequent words, the most frequent first.
func (c *wordCounts) top(k int) []wordCount {
	all := make([]wordCount, 0, len(c.words))
	for w, n := range c.words {
		all = append(all, wordCount{w, *n})
	}
	slices.SortFunc(all, func(a, b wordCount) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.word, b.word))
	})
	return all[:min(k, len(all))]
}

// wordDiff is a word that two counts do not agree on.
type wordDiff struct {
	word      string
	got, want int64
}

// diff returns the words on which c and want do not agree, sorted.
func (c *wordCounts) diff(want *wordCounts) []wordDiff {
	var out []wordDiff
	for w, n := range want.words {
		got := c.words[w]
		switch {
		case got == nil:
			out = append(out, wordDiff{w, 0, *n})
		case *got != *n:
			out = append(out, wordDiff{w, *got, *n})
		}
	}
	for w, n := range c.words {
		if want.words[w] == nil {
			out = append(out, wordDiff{w, *n, 0})
		}
	}
	slices.SortFunc(out, func(a, b wordDiff) int { return cmp.Compare(a.word, b.word) })
	return out
}

// encode writes one line "word count" per word. At most 1.5 times as long as
// the text that was counted, give or take the few words of one or two bytes, so
// that the counts of a piece fit into a message.
func (c *wordCounts) encode() []byte {
	b := make([]byte, 0, 16*len(c.words))
	for w, n := range c.words {
		b = append(b, w...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, *n, 10)
		b = append(b, '\n')
	}
	return b
}

// addEncoded adds what encode wrote; nothing when it cannot be read.
func (c *wordCounts) addEncoded(b []byte) error {
	if err := eachCount(b, func([]byte, int64) {}); err != nil {
		return err
	}
	return eachCount(b, c.add)
}

// eachCount calls yield with every line that encode wrote.
func eachCount(b []byte, yield func(word []byte, n int64)) error {
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		word, num, two := bytes.Cut(line, []byte{' '})
		n, err := strconv.ParseInt(string(num), 10, 64)
		if !ended || !two || err != nil || n <= 0 || len(word) == 0 {
			return fmt.Errorf("counts: unreadable line %q", line)
		}
		yield(word, n)
		b = rest
	}
	return nil
}
