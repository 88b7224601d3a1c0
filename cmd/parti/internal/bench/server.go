package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/embed"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// serverSpec is what a server process is to do.
type serverSpec struct {
	Dir  string
	Port int // 0: the system chooses
}

// serverSays is what a server process tells when it is ready.
type serverSays struct {
	URL     string
	Port    int
	Monitor string
}

// RunServer is the life of a server process.
func RunServer(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec serverSpec
	return fleet.Serve(ctx, in, &spec, func(ctx context.Context) error {
		reload := make(chan os.Signal, 1)
		signal.Notify(reload, syscall.SIGHUP)
		opts := embed.Options{
			Name: "parti-bench", Dir: spec.Dir, Port: spec.Port, Monitor: true,
			Users: users(nil), NoAuthUser: freeUser,
		}
		srv, err := embed.Start(opts)
		if err != nil {
			return err
		}
		said := serverSays{URL: srv.ClientURL(), Monitor: "http://" + srv.MonitorAddr().String()}
		if a, ok := srv.Addr().(*net.TCPAddr); ok {
			said.Port = a.Port
		}
		text, err := json.Marshal(said)
		if err != nil {
			return err
		}
		reports := fleet.NewReporter(out)
		reports.Send(fleet.Report{Kind: fleet.Said, Text: string(text)})
		defer srv.WaitForShutdown()
		defer srv.Shutdown()
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
		}
		opts.Users = users(&server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"parti.>"}}})
		if err := srv.ReloadOptions(opts.Server()); err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		reports.Send(fleet.Report{Kind: fleet.Said})
		<-ctx.Done()
		return nil
	})
}

// The users of a server of the benchmark's own: one that may do everything, which
// everybody is who does not say otherwise, and one that loses the right to answer
// probes when the server is told to reload.
const (
	freeUser = "free"
	poorUser = "poor"
	password = "bench"
)

func users(poor *server.Permissions) []*server.User {
	return []*server.User{
		{Username: freeUser, Password: password},
		{Username: poorUser, Password: password, Permissions: poor},
	}
}

// natsServer is the NATS of a run: a server process of its own, or the user's.
type natsServer struct {
	url     string
	monitor string // base of its HTTP monitor; "" when there is none
	pid     int    // 0 when unknown
	port    int

	own  *fleet.Fleet // nil when it is the user's
	dir  string
	proc *fleet.Process

	nc *nats.Conn
	js jetstream.JetStream
}

// openServer starts a server process, or connects to that of the options.
func openServer(ctx context.Context, o Options) (_ *natsServer, err error) {
	s := &natsServer{url: o.NATS, monitor: o.Monitor, pid: o.ServerPID}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.url == "" {
		if s.dir, err = os.MkdirTemp("", "parti-bench-"); err != nil {
			return nil, err
		}
		s.own = fleet.New()
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	if s.nc, err = nats.Connect(s.url, nats.Name("parti bench"), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond)); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return nil, err
	}
	return s, nil
}

// start starts the server process, on the port that it had before.
func (s *natsServer) start(ctx context.Context) (err error) {
	s.proc, err = s.own.Start(ServerCommand, serverSpec{Dir: filepath.Join(s.dir, "jetstream"), Port: s.port})
	if err != nil {
		return err
	}
	text, err := s.said(ctx)
	if err != nil {
		return err
	}
	var said serverSays
	if err := json.Unmarshal([]byte(text), &said); err != nil {
		return err
	}
	s.url, s.monitor, s.port, s.pid = said.URL, said.Monitor, said.Port, s.proc.Cmd.Process.Pid
	return nil
}

// said waits for what the server process says next.
func (s *natsServer) said(ctx context.Context) (string, error) {
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case ev := <-s.own.Events:
			switch {
			case ev.Ended:
				s.own.Forget(ev.Proc)
				return "", fmt.Errorf("the server process ended: %w", ev.Err)
			case ev.Report != nil && ev.Report.Kind == fleet.Said:
				return ev.Report.Text, nil
			}
		}
	}
}

// reload takes the right to answer probes from the poor user.
func (s *natsServer) reload(ctx context.Context) error {
	if err := s.proc.Reload(); err != nil {
		return err
	}
	_, err := s.said(ctx)
	return err
}

// address is where the server process listens.
func (s *natsServer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// stop ends the server process in good order.
func (s *natsServer) stop() {
	s.own.TellAll()
	for len(s.own.Procs) > 0 {
		if ev := <-s.own.Events; ev.Ended {
			s.own.Forget(ev.Proc)
		}
	}
	s.own.Wait()
}

// restart stops the server, waits, and starts it again with its data.
func (s *natsServer) restart(ctx context.Context, down time.Duration) error {
	s.stop()
	if err := pause(ctx, down); err != nil {
		return err
	}
	return s.start(ctx)
}

func (s *natsServer) close() error {
	if s.nc != nil {
		s.nc.Close()
	}
	if s.own == nil {
		return nil
	}
	s.stop()
	return os.RemoveAll(s.dir)
}

// usage is what the server has done so far; what is not known is negative.
type usage struct {
	at      time.Time
	in, out int64
	// inBytes and outBytes are those of the messages.
	inBytes, outBytes int64
	cpu               time.Duration
}

// usage asks the monitor and the system.
func (s *natsServer) usage(ctx context.Context) (usage, error) {
	u := usage{in: -1, out: -1, cpu: -1}
	if s.monitor != "" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.monitor+"/varz", http.NoBody)
		if err != nil {
			return u, err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return u, fmt.Errorf("ask the server's monitor: %w", err)
		}
		defer func() { _ = res.Body.Close() }()
		var varz struct {
			InMsgs  int64 `json:"in_msgs"`
			OutMsgs int64 `json:"out_msgs"`

			InBytes  int64 `json:"in_bytes"`
			OutBytes int64 `json:"out_bytes"`
		}
		if err := json.NewDecoder(res.Body).Decode(&varz); err != nil {
			return u, fmt.Errorf("read the server's monitor: %w", err)
		}
		u.in, u.out = varz.InMsgs, varz.OutMsgs
		u.inBytes, u.outBytes = varz.InBytes, varz.OutBytes
	}
	if s.pid != 0 {
		if cpu, err := cpuTime(s.pid); err == nil {
			u.cpu = cpu
		}
	}
	u.at = time.Now()
	return u, nil
}

// newBuckets are names that no other fleet has.
func newBuckets() parti.KVBucketConfig {
	run := "parti-bench-" + nuid.Next()
	return parti.KVBucketConfig{
		StableIDBucket:   run + "-stableid",
		ElectionBucket:   run + "-election",
		HeartbeatBucket:  run + "-heartbeat",
		AssignmentBucket: run + "-assignment",
	}
}

// remove deletes the buckets of a fleet that has ended.
func (s *natsServer) remove(ctx context.Context, k parti.KVBucketConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var errs []error
	for _, b := range []string{k.StableIDBucket, k.ElectionBucket, k.HeartbeatBucket, k.AssignmentBucket} {
		if err := s.js.DeleteKeyValue(ctx, b); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
			errs = append(errs, fmt.Errorf("remove bucket %s: %w", b, err))
		}
	}
	return errors.Join(errs...)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
