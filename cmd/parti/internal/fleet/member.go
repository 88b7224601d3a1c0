package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/arloliu/parti"
)

// stopTimeout bounds how long a worker takes to leave.
const stopTimeout = 10 * time.Second

// Serve is the life of a process that [Fleet.Start] has started: it reads what
// it is to do from in into spec, and calls live with a context that ends when in
// does, because the parent is gone or has told so, or at SIGTERM.
func Serve(ctx context.Context, in io.Reader, spec any, live func(context.Context) error) error {
	// A Ctrl-C in the terminal goes to the whole group of processes; the
	// parent ends the others, in its order.
	signal.Ignore(os.Interrupt)
	dec := json.NewDecoder(in)
	if err := dec.Decode(spec); err != nil {
		return fmt.Errorf("read the specification from standard input: %w", err)
	}
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, dec.Buffered())
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return live(ctx)
}

// Member reports what happens to the manager of a worker process.
type Member struct {
	reports *Reporter
	mgr     *parti.Manager
}

// NewMember returns a member that reports to r.
func NewMember(r *Reporter) *Member { return &Member{reports: r} }

// Options are what the manager needs for its reports.
func (m *Member) Options() []parti.Option {
	return []parti.Option{parti.WithMetrics(&Meter{Reports: m.reports}), parti.WithHooks(m.hooks())}
}

// Run starts a manager made with Options, and stops it when ctx ends.
func (m *Member) Run(ctx context.Context, mgr *parti.Manager) error {
	m.mgr = mgr
	startErr := mgr.Start(ctx)
	if startErr == nil {
		m.reports.Send(Report{Kind: Started, Worker: mgr.WorkerID(), Leader: mgr.IsLeader()})
		select {
		case <-ctx.Done():
		case <-mgr.Done():
			startErr = mgr.Err()
		}
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	stopErr := mgr.Stop(stopCtx)
	if errors.Is(startErr, context.Canceled) {
		startErr = nil // told to end before it had begun
	}
	return errors.Join(startErr, stopErr)
}

func (m *Member) hooks() *parti.Hooks {
	return &parti.Hooks{
		OnAssignmentChanged: func(_ context.Context, added, removed []parti.Partition) error {
			m.reports.Send(Report{
				Kind: Assigned, Worker: m.mgr.WorkerID(),
				Added: ids(added), Removed: ids(removed),
			})
			return nil
		},
		OnStateChanged: func(_ context.Context, from, to parti.State) error {
			m.reports.Send(Report{Kind: StateChanged, Worker: m.mgr.WorkerID(), From: from.String(), To: to.String()})
			return nil
		},
		OnError: func(_ context.Context, err error) error {
			m.reports.Send(Report{Kind: Failed, Worker: m.mgr.WorkerID(), Text: err.Error()})
			return nil
		},
	}
}

func ids(parts []parti.Partition) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.ID()
	}
	return out
}
