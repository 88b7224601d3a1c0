package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// ledger is the store that handlers write to. It checks tokens, as users' stores
// are told to: a new owner makes its token known, and a write under an older one
// is refused. It is never cut off from anybody. Its records of grants and of what
// was handled go into histories of their own, in the order in which they happened.
type ledger struct {
	dir      string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	max   [partitions]parti.Token
	conns map[net.Conn]bool
	files map[int]*os.File
}

func newLedger(dir string) (*ledger, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &ledger{dir: dir, listener: ln, conns: make(map[net.Conn]bool), files: make(map[int]*os.File)}
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.conns[c] = true
			l.mu.Unlock()
			l.wg.Go(func() { l.serve(c) })
		}
	})
	return l, nil
}

// close ends the store.
func (l *ledger) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	for _, f := range l.files {
		_ = f.Close()
	}
}

// serve answers the writes of one process, which names itself first.
func (l *ledger) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	var proc int
	if _, err := fmt.Fscanln(in, &proc); err != nil {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		r, err := oracle.Parse(line)
		if err != nil {
			return
		}
		answer := "no\n"
		if l.write(proc, r) {
			answer = "ok\n"
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// write takes a grant or a handled message, unless a newer token is known.
func (l *ledger) write(proc int, r oracle.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.max[r.Part].Less(r.Token) {
		l.max[r.Part] = r.Token
	}
	fresh := r.Token == l.max[r.Part]
	if fresh || r.Kind == oracle.Granted { // a stale grant is judged
		f := l.files[proc]
		if f == nil {
			var err error
			if f, err = crew.OpenHistory(l.dir, proc); err != nil {
				panic(err)
			}
			l.files[proc] = f
		}
		r.At = time.Now().UnixNano()
		if _, err := f.Write(r.Append(nil)); err != nil {
			panic(err)
		}
	}
	return fresh
}

// errStale is that the store knows a newer token.
var errStale = errors.New("the store knows a newer token")

// teller is a worker's way to the store.
type teller struct {
	mu sync.Mutex
	c  net.Conn
	in *bufio.Reader
}

func dialLedger(address string, proc int) (*teller, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	_, err = fmt.Fprintln(c, proc)
	return &teller{c: c, in: bufio.NewReader(c)}, err
}

// write returns errStale when it was refused.
func (t *teller) write(r oracle.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.c.Write(r.Append(nil)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	answer, err := t.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if answer != "ok\n" {
		return errStale
	}
	return nil
}
