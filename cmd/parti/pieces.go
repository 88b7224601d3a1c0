package main

import (
	"bufio"
	"errors"
	"io"
)

// pieceSize is the largest piece of a file that travels in one message. The
// counts of a piece must fit into a message of 1 MiB as well.
const pieceSize = 512 << 10

// eachPiece reads r to its end and calls yield with one piece of at most limit
// bytes after another, cut between words, so that the counts of the pieces add
// up to the count of the whole. What fits is one piece, nothing is one empty
// piece. limit must be more than maxWord by a rune; the piece is yield's only
// until it returns.
func eachPiece(r io.Reader, limit int, yield func(piece []byte) error) error {
	in := bufio.NewReader(r)
	buf := make([]byte, limit)
	n := 0
	for {
		m, err := io.ReadFull(in, buf[n:])
		n += m
		if err == nil {
			_, err = in.Peek(1) // full: is there more?
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return yield(buf[:n])
		case err != nil:
			return err
		}
		cut := lastBoundary(buf)
		if err := yield(buf[:cut]); err != nil {
			return err
		}
		n = copy(buf, buf[cut:])
	}
}

// lastBoundary returns where the last word begins that may go on behind b, or
// the end of b when none does.
func lastBoundary(b []byte) int {
	cut := 0
	for cut < len(b) {
		n, _, _ := scanWord(b[cut:], false)
		if n == 0 {
			break
		}
		cut += n
	}
	return cut
}
