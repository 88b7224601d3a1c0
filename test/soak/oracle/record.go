package oracle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/arloliu/parti"
)

// Kind says what a record tells.
type Kind byte

// What worker processes record. A record of an act that others may react to is
// written before the act (Granted, Received) or after it (Released, Handled,
// Answered), so that no history looks better than what happened.
const (
	// Granted: the worker may work on Part from now on, with Token.
	Granted Kind = 'G'
	// Told: the worker was told to let go of Part.
	Told Kind = 'D'
	// Released: it has let go, and every acknowledgement of Part was answered. With N
	// = 1 it has only let go: it took too long, and its updater said so.
	Released Kind = 'V'
	// Received: a handler begins with message N of Part, at Seq of the stream,
	// under Token.
	Received Kind = 'R'
	// Handled: the handler has done its work. Its acknowledgement is not sent yet.
	Handled Kind = 'H'
	// Answered: the server has confirmed the acknowledgement.
	Answered Kind = 'A'
	// Failed: the handler has failed, and the message is to be tried again.
	Failed Kind = 'F'
	// Refused: the store that the handler writes to refused the write, because it
	// knows a newer token. The message is not handled.
	Refused Kind = 'X'
	// Planned: this leader's strategy moves Part to worker number N.
	Planned Kind = 'T'
	// Said is a line of text that is not judged.
	Said Kind = 'E'
)

// What the process that runs the fleet records.
const (
	// Published: messages 1 to N of Part are in the stream.
	Published Kind = 'P'
	// Killed: process N was killed and has ended.
	Killed Kind = 'K'
	// OutageBegan and OutageEnded surround a time in which a server was down.
	OutageBegan Kind = 'o'
	OutageEnded Kind = 'O'
	// Doubted: from now on process N may be taken for dead although it lives: it
	// is stopped, or the network fails it. With Seq = 1 it may then go on with
	// partitions that others are granted, because it cannot know better.
	Doubted Kind = 'q'
	// Trusted: what ailed process N is over.
	Trusted Kind = 'Q'
	// Left: in the end the server still had N messages of Part for its owner.
	Left Kind = 'Z'
)

// Record is one line of a history.
type Record struct {
	At    int64 // Unix nanoseconds
	Proc  int   // process, counted over the whole run; 0 runs the fleet
	Kind  Kind
	Part  int
	N     int
	Seq   uint64
	Token parti.Token
	Text  string
}

// Append appends the record as a line, without its Proc, which is known by the
// file.
func (r Record) Append(b []byte) []byte {
	b = append(b, byte(r.Kind), ' ')
	b = strconv.AppendInt(b, r.At, 10)
	for _, v := range []uint64{uint64(r.Part), uint64(r.N), r.Seq, r.Token.Term, r.Token.Version} {
		b = append(b, ' ')
		b = strconv.AppendUint(b, v, 10)
	}
	if r.Text != "" {
		b = append(b, ' ')
		b = append(b, strings.ReplaceAll(r.Text, "\n", " | ")...)
	}
	return append(b, '\n')
}

// Parse reads a line that Append has written.
func Parse(line string) (Record, error) {
	f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 8)
	if len(f) < 7 || len(f[0]) != 1 {
		return Record{}, fmt.Errorf("record %q: too few fields", line)
	}
	r := Record{Kind: Kind(f[0][0])}
	if len(f) == 8 {
		r.Text = f[7]
	}
	var v [6]uint64
	for i := range v {
		var err error
		if v[i], err = strconv.ParseUint(f[i+1], 10, 64); err != nil {
			return Record{}, fmt.Errorf("record %q: %w", line, err)
		}
	}
	r.At, r.Part, r.N, r.Seq = int64(v[0]), int(v[1]), int(v[2]), v[3]
	r.Token = parti.Token{Term: v[4], Version: v[5]}
	return r, nil
}

// Read reads the history of a process. The half line of a process that was
// killed while it wrote is left out.
func Read(r io.Reader, proc int) ([]Record, error) {
	var out []Record
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read history of process %d: %w", proc, err)
		}
		rec, err := Parse(line)
		if err != nil {
			return nil, err
		}
		rec.Proc = proc
		out = append(out, rec)
	}
}
