package crew

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/nats-io/nats.go"
)

// Servers are nats-server processes on loopback: one, or a cluster.
type Servers struct {
	Nodes []*Node
	// System is a connection to the system account.
	System *nats.Conn

	binary string
}

// Node is one of them. One goroutine at a time changes it.
type Node struct {
	Name                  string
	Dir                   string
	Client, Monitor, Port int // ports; Port is the route's
	Routes                string
	Full                  bool // its account may store nothing more

	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

var nodeConfig = template.Must(template.New("").Parse(`server_name: {{.Name}}
listen: "127.0.0.1:{{.Client}}"
http: "127.0.0.1:{{.Monitor}}"
jetstream { store_dir: "{{.Dir}}", max_file_store: 4GB, max_memory_store: 256MB }
{{if .Routes}}cluster { name: chaos, listen: "127.0.0.1:{{.Port}}", routes: [{{.Routes}}], no_advertise: true }
{{end}}accounts {
  APP { users: [{user: app, password: app}], jetstream { max_file: {{if .Full}}1KB{{else}}2GB{{end}}, max_mem: 128MB, max_streams: -1, max_consumers: -1 } }
  SYS { users: [{user: sys, password: sys}] }
}
system_account: SYS
no_auth_user: app
`))

// ServerVariable is the environment variable that names a nats-server program.
const ServerVariable = "PARTI_NATS_SERVER"

// ServerBinary is the program that [ServerVariable] names, or one of the version of
// the module that the test belongs to, built into dir.
func ServerBinary(dir string) (string, error) {
	if path := os.Getenv(ServerVariable); path != "" {
		return path, nil
	}
	path := filepath.Join(dir, "nats-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput() //nolint:gosec // a path of ours
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
}

// StartServers starts n servers, which keep their data in dir, and waits until they
// work. What it returns is to be closed also when it fails.
func StartServers(binary, dir string, n int) (*Servers, error) {
	c := &Servers{binary: binary}
	var routes []string
	ports := freePorts(3 * n)
	for i := range n {
		nd := &Node{
			Name: fmt.Sprintf("node-%d", i), Dir: filepath.Join(dir, fmt.Sprintf("node-%d", i)),
			Client: ports[3*i], Monitor: ports[3*i+1], Port: ports[3*i+2],
		}
		routes = append(routes, fmt.Sprintf(`"nats-route://127.0.0.1:%d"`, nd.Port))
		c.Nodes = append(c.Nodes, nd)
	}
	for _, nd := range c.Nodes {
		if n > 1 {
			nd.Routes = strings.Join(routes, ", ")
		}
		if err := os.MkdirAll(nd.Dir, 0o700); err != nil {
			return nil, err
		}
		if err := c.Start(nd); err != nil {
			return c, err
		}
	}
	if err := c.Ready(context.Background(), time.Minute); err != nil {
		return c, err
	}
	var err error
	c.System, err = nats.Connect(c.URLs(), nats.UserInfo("sys", "sys"), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond))
	return c, err
}

// StartTestServers starts n servers for the time of a test.
func StartTestServers(t testing.TB, binary string, n int) *Servers {
	t.Helper()
	c, err := StartServers(binary, t.TempDir(), n)
	if c != nil {
		t.Cleanup(c.Close)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// freePorts chooses ports that the system gives to nobody, so that a server that
// is down finds its own again.
func freePorts(n int) []int {
	var out []int
	for len(out) < n {
		p := 20000 + rand.IntN(12000)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			continue
		}
		_ = ln.Close()
		out = append(out, p)
	}
	return out
}

// URLs are the addresses of all servers, for nats.Connect.
func (c *Servers) URLs() string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Address())
	}
	return strings.Join(out, ",")
}

// Address is where clients connect to.
func (n *Node) Address() string { return fmt.Sprintf("127.0.0.1:%d", n.Client) }

// configure writes a node's configuration.
func (n *Node) configure() (string, error) {
	path := n.Dir + ".conf"
	var b strings.Builder
	if err := nodeConfig.Execute(&b, n); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

// Start starts a node again.
func (c *Servers) Start(n *Node) error {
	path, err := n.configure()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(n.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	n.cmd = exec.Command(c.binary, "-c", path) //nolint:gosec // paths of ours
	n.cmd.Stdout, n.cmd.Stderr = log, log
	n.cmd.SysProcAttr = ChildAttr()
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.done = make(chan struct{})
	cmd, done := n.cmd, n.done
	go func() { _ = cmd.Wait(); close(done) }()
	return nil
}

// Stop ends a node, by SIGKILL or in good order, and waits for its end.
func (n *Node) Stop(s syscall.Signal) error {
	if err := n.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("%v to %s: %w", s, n.Name, err)
	}
	select {
	case <-n.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s goes on 30s after %v", n.Name, s)
	}
}

// Fill sets or lifts a limit on what may be stored, on all nodes.
func (c *Servers) Fill(full bool) error {
	for _, n := range c.Nodes {
		n.Full = full
		if _, err := n.configure(); err != nil {
			return err
		}
		if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return fmt.Errorf("reload %s: %w", n.Name, err)
		}
	}
	return nil
}

// Ready waits until every node says that it is well, streams and consumers
// included.
func (c *Servers) Ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, n := range c.Nodes {
		if err := n.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) ready(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := n.healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.done:
			return fmt.Errorf("%s has ended", n.Name)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", n.Name, err)
		}
	}
}

func (n *Node) healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", n.Monitor), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// Close ends all nodes.
func (c *Servers) Close() {
	if c.System != nil {
		c.System.Close()
	}
	for _, n := range c.Nodes {
		if n.cmd != nil && n.cmd.Process != nil {
			_ = n.cmd.Process.Kill()
			<-n.done
		}
	}
}
