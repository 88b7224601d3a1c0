package wall

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// nodeEnv makes a process of this test binary a node of a NATS cluster, which it
// describes.
const nodeEnv = "PARTI_WALL_NODE"

// node is a NATS server in a process of its own, so that it can be killed.
type node struct {
	Name, Dir string
	Hosts     []string // of all nodes
	I         int      // which of them it is

	cmd *exec.Cmd
}

const (
	nodePort  = 14222
	routePort = 16222
)

func (n *node) url() string { return fmt.Sprintf("nats://%s:%d", n.Hosts[n.I], nodePort) }

// runNode is the main function of such a process. It ends with its parent.
func runNode(description string) error {
	var n node
	if err := json.Unmarshal([]byte(description), &n); err != nil {
		return err
	}
	opts := &server.Options{
		ServerName: n.Name, Host: n.Hosts[n.I], Port: nodePort, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: n.Dir,
		Cluster: server.ClusterOpts{Name: "parti", Host: n.Hosts[n.I], Port: routePort},
	}
	for _, h := range n.Hosts {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: fmt.Sprintf("%s:%d", h, routePort)})
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent is gone
	s.Shutdown()
	return nil
}

// startNodes starts a cluster of three processes. Each has an address of its own
// in the loopback network, at random, so that ports need not be looked for.
func startNodes(t *testing.T) []*node {
	t.Helper()
	nodes := make([]*node, 3)
	hosts := make([]string, len(nodes))
	for i := range hosts {
		hosts[i] = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 2+rand.IntN(250))
		l, err := net.Listen("tcp", net.JoinHostPort(hosts[i], fmt.Sprint(nodePort)))
		if err != nil {
			t.Skipf("this machine has no loopback network: %v", err)
		}
		_ = l.Close()
	}
	for i := range nodes {
		n := &node{Name: fmt.Sprint("node-", i), Hosts: hosts, I: i}
		n.Dir = filepath.Join(t.TempDir(), n.Name)
		n.start(t)
		t.Cleanup(n.kill)
		nodes[i] = n
	}
	return nodes
}

// start starts the process, again after a kill.
func (n *node) start(t *testing.T) {
	t.Helper()
	description, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(os.Args[0], "-test.run=^$") // ended below, by its id
	n.cmd.Env = append(os.Environ(), nodeEnv+"="+string(description))
	n.cmd.Stderr = os.Stderr
	if _, err := n.cmd.StdinPipe(); err != nil { // its end tells that the parent is gone
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) kill() {
	_ = n.cmd.Process.Kill() // it may have been killed before
	_ = n.cmd.Wait()
}

func urls(nodes []*node) string {
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.url()
	}
	return strings.Join(all, ",")
}

// retry calls f until it succeeds: a cluster without a leader answers nobody.
func retry(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: %v", what, err)
		}
	}
}
