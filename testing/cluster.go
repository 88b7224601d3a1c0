package testing

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// readyInterval is how often a cluster is asked whether it is ready: it tells
// nobody when it is.
const readyInterval = 5 * time.Millisecond

// Cluster is a cluster of embedded NATS servers on loopback sockets.
type Cluster struct {
	t     testing.TB
	nodes []*Server
}

// StartEmbeddedNATSCluster starts n NATS servers with JetStream, n at least 2
// and 3 for the usual R3 streams, that form one cluster. When it returns the
// cluster has a leader and all nodes are up to date. Everything is stopped when
// the test ends, after the connections made by Connect.
func StartEmbeddedNATSCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	if n < 2 {
		t.Fatalf("start embedded NATS cluster: %d nodes: at least 2 are needed, use StartServer for one", n)
	}
	routes := make([]*url.URL, n)
	ports := make([]*port, n)
	for i := range n {
		p, err := reservePort()
		if err != nil {
			t.Fatalf("start embedded NATS cluster: %v", err)
		}
		t.Cleanup(p.release)
		ports[i] = p
		routes[i] = &url.URL{Scheme: "nats-route", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number))}
	}
	c := &Cluster{t: t}
	for i := range n {
		// The nodes' options are the user's with their own directories and routes.
		node := func(o *options) {
			if o.storeDir != "" {
				o.storeDir = filepath.Join(o.storeDir, "node-"+strconv.Itoa(i))
			}
			o.noListener, o.noJetStream = false, false
			o.clusterRoute = func(so *server.Options) {
				so.Cluster = server.ClusterOpts{Name: "parti", Host: "127.0.0.1", Port: ports[i].number}
				so.Routes = routes
			}
		}
		s := newServer(t, "node-"+strconv.Itoa(i), append(append([]Option{}, opts...), node))
		c.nodes = append(c.nodes, s)
	}
	for _, s := range c.nodes {
		if err := s.start(); err != nil {
			t.Fatalf("start embedded NATS cluster: %s: %v", s.name, err)
		}
	}
	c.WaitReady()
	return c
}

// Servers returns the nodes, in a fixed order. Shutting one down or restarting
// it does not wait for the others, see [Cluster.WaitReady].
func (c *Cluster) Servers() []*Server { return append([]*Server{}, c.nodes...) }

// Leader returns the leader of the cluster, which places streams and consumers,
// or nil when there is none at the moment.
func (c *Cluster) Leader() *Server {
	for _, s := range c.nodes {
		if srv := s.get(); srv != nil && srv.JetStreamIsLeader() {
			return s
		}
	}
	return nil
}

// URLs returns the addresses of all nodes, whether they run or not.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		urls[i] = s.URL()
	}
	return urls
}

func (c *Cluster) url() string { return strings.Join(c.URLs(), ",") }

// Connect returns a new connection to any node, like [Server.Connect]. It finds
// another node when its own stops.
func (c *Cluster) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	first := c.nodes[0]
	return connect(t, c.url(), connOptions(first.log.log, first.opts.connOpts, opts))
}

// NewLink returns a link to the cluster that can be cut; see [Server.NewLink].
func (c *Cluster) NewLink(t testing.TB) *Link {
	t.Helper()
	first := c.nodes[0]
	return newLink(t, first.log.log, c.url, first.opts.connOpts, net.Dial)
}

// StopNode shuts node i down.
func (c *Cluster) StopNode(i int) { c.nodes[i].Shutdown() }

// RestartNode restarts node i with its data and waits until the cluster is ready
// again.
func (c *Cluster) RestartNode(i int) {
	c.t.Helper()
	c.nodes[i].Restart()
	c.WaitReady()
}

// WaitReady waits until the running nodes, which must be a majority, agree on a
// leader, are up to date, the leader knows all of them, and every stream on them
// has a leader and running copies that are up to date. It fails the test after
// 30 seconds.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		missing := c.missing()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("embedded NATS cluster is not ready after %v: %s", startTimeout, missing)
		}
	}
}

// missing says what the cluster lacks to be ready, or nothing.
func (c *Cluster) missing() string {
	running := map[string]*server.Server{}
	for _, s := range c.nodes {
		if srv := s.get(); srv != nil {
			running[s.name] = srv
		}
	}
	leaderless := true
	for name, srv := range running {
		if !srv.JetStreamIsCurrent() {
			return name + " is behind"
		}
		if !srv.JetStreamIsLeader() {
			continue
		}
		leaderless = false
		if peers := len(srv.JetStreamClusterPeers()); peers != len(running) {
			return fmt.Sprintf("the leader knows %d of %d running nodes", peers, len(running))
		}
	}
	if leaderless {
		return "no leader"
	}
	for name, srv := range running {
		if missing := streamsMissing(name, srv, running); missing != "" {
			return missing
		}
	}
	return ""
}

// streamsMissing says which of the streams on a node has no running leader, or
// which running copy of a stream that the node leads is behind. A request for a
// stream without a leader is lost: nobody answers it, then or later.
func streamsMissing(name string, srv *server.Server, running map[string]*server.Server) string {
	info, err := srv.Jsz(&server.JSzOptions{Streams: true, Config: true})
	if err != nil {
		return fmt.Sprintf("%s does not list its streams: %v", name, err)
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Cluster == nil {
				continue
			}
			if running[stream.Cluster.Leader] == nil {
				return fmt.Sprintf("stream %s on %s has no leader", stream.Name, name)
			}
			if stream.Cluster.Leader != name {
				continue
			}
			for _, peer := range stream.Cluster.Replicas {
				if running[peer.Name] != nil && !peer.Current {
					return fmt.Sprintf("stream %s on %s is behind", stream.Name, peer.Name)
				}
			}
			if missing := interestMissing(account.Name, stream, running); missing != "" {
				return missing
			}
		}
	}
	return ""
}

// interestMissing says which running node does not know yet where to send what
// is for a stream that has a leader. Interest travels the routes after the leader
// is known; until it arrives, requests through that node have no responders.
func interestMissing(account string, stream server.StreamDetail, running map[string]*server.Server) string {
	if stream.Config == nil {
		return ""
	}
	subjects := slices.Clone(stream.Config.Subjects)
	if stream.Config.AllowDirect {
		subjects = append(subjects, "$JS.API.DIRECT.GET."+stream.Name)
	}
	for name, srv := range running {
		acc, err := srv.LookupAccount(account)
		if err != nil {
			return fmt.Sprintf("%s does not know account %s: %v", name, account, err)
		}
		for _, subject := range subjects {
			if !acc.SubscriptionInterest(subject) {
				return fmt.Sprintf("%s does not know who answers %s", name, subject)
			}
		}
	}
	return ""
}
