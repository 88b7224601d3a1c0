package crew

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/arloliu/parti/test/soak/oracle"
)

// Journal writes records to a history, at once, so that a kill leaves all of
// them.
type Journal struct {
	mu   sync.Mutex
	file io.Writer
	out  io.Writer
	buf  []byte
}

// NewJournal returns a journal that writes to file and, what a runner needs to
// know at once, to out as well.
func NewJournal(file, out io.Writer) *Journal { return &Journal{file: file, out: out} }

// Add writes a record with the present time.
func (j *Journal) Add(r oracle.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.At = time.Now().UnixNano()
	j.buf = r.Append(j.buf[:0])
	if _, err := j.file.Write(j.buf); err != nil {
		panic(err) // a history with holes proves nothing
	}
	switch r.Kind {
	case oracle.Received, oracle.Handled, oracle.Answered, oracle.Failed, oracle.Refused, oracle.Planned:
	default:
		_, _ = j.out.Write(j.buf) // a runner that is gone shows in the input
	}
}

// Say writes a line of text, which is not judged.
func (j *Journal) Say(format string, args ...any) {
	j.Add(oracle.Record{Kind: oracle.Said, Text: fmt.Sprintf(format, args...)})
}

// HistoryFile names the history of a process; process 0 runs the others.
func HistoryFile(dir string, proc int) string {
	return filepath.Join(dir, fmt.Sprintf("process-%03d.history", proc))
}

// OpenHistory opens the history of a process to append to it.
func OpenHistory(dir string, proc int) (*os.File, error) {
	return os.OpenFile(HistoryFile(dir, proc), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// ReadHistories reads the histories of processes 0 to n.
func ReadHistories(dir string, n int) ([]oracle.Record, error) {
	var records []oracle.Record
	for proc := range n + 1 {
		f, err := os.Open(HistoryFile(dir, proc))
		if os.IsNotExist(err) {
			continue // ended before it began
		}
		if err != nil {
			return nil, err
		}
		recs, err := oracle.Read(f, proc)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
		records = append(records, recs...)
	}
	return records, nil
}
