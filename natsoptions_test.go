package parti

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func withNATSOptions(t *testing.T) nats.Options {
	t.Helper()
	o := nats.GetDefaultOptions()
	for _, opt := range NATSOptions() {
		if err := opt(&o); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func TestNATSOptions(t *testing.T) {
	o := withNATSOptions(t)
	if o.ReconnectWait != 250*time.Millisecond {
		t.Errorf("ReconnectWait is %v", o.ReconnectWait)
	}
	if o.ReconnectJitter != 50*time.Millisecond || o.ReconnectJitterTLS != 100*time.Millisecond {
		t.Errorf("the jitter is %v, with TLS %v", o.ReconnectJitter, o.ReconnectJitterTLS)
	}
	if !o.AllowReconnect || o.MaxReconnect != -1 {
		t.Errorf("AllowReconnect is %v, MaxReconnect %d", o.AllowReconnect, o.MaxReconnect)
	}
	if o.PingInterval != 2*time.Second || o.MaxPingsOut != 2 {
		t.Errorf("pings: %v, %d", o.PingInterval, o.MaxPingsOut)
	}
	if o.ReconnectBufSize != -1 {
		t.Errorf("ReconnectBufSize is %d", o.ReconnectBufSize)
	}
	if o.RetryOnFailedConnect {
		t.Error("a wrong address would not fail at once")
	}
	if w := connectionWarnings(&nats.Conn{Opts: o}); w != nil {
		t.Errorf("our own options warn: %q", w)
	}
}

// failingDialer fails at once.
type failingDialer struct{}

func (failingDialer) Dial(string, string) (net.Conn, error) {
	return nil, errors.New("no network here")
}

func TestReconnectAllowance(t *testing.T) {
	const ttl = 6 * time.Second
	for name, tc := range map[string]struct {
		change func(*nats.Options)
		want   time.Duration
	}{
		"plain nats.Connect": {func(*nats.Options) {}, 2100 * time.Millisecond},
		"with TLS":           {func(o *nats.Options) { o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12} }, 3 * time.Second},
		"secure":             {func(o *nats.Options) { o.Secure = true }, 3 * time.Second},
		"custom delay":       {func(o *nats.Options) { o.CustomReconnectDelayCB = func(int) time.Duration { return 0 } }, ttl},
		"custom server choice": {func(o *nats.Options) {
			o.ReconnectToServerCB = func([]nats.Server, nats.ServerInfo) (*nats.Server, time.Duration) { return nil, 0 }
		}, ttl},
		"no reconnect": {func(o *nats.Options) { o.AllowReconnect = false }, 0},
	} {
		o := nats.GetDefaultOptions()
		tc.change(&o)
		if got := reconnectAllowance(&nats.Conn{Opts: o}, ttl); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	recommended := withNATSOptions(t)
	if got := reconnectAllowance(&nats.Conn{Opts: recommended}, ttl); got != 300*time.Millisecond {
		t.Errorf("our own options: %v", got)
	}
}

func TestReconnectAllowanceOfSeveralServers(t *testing.T) {
	for urls, want := range map[string]time.Duration{
		"nats://127.0.0.1:1":                    300 * time.Millisecond,
		"nats://127.0.0.1:1,nats://127.0.0.1:2": 300*time.Millisecond + 7*time.Second,
	} {
		nc, err := nats.Connect(urls, append(NATSOptions(), nats.Timeout(7*time.Second),
			nats.RetryOnFailedConnect(true), nats.SetCustomDialer(failingDialer{}))...)
		if err != nil {
			t.Fatal(err)
		}
		if got := reconnectAllowance(nc, time.Second); got != want {
			t.Errorf("%s: %v, want %v", urls, got, want)
		}
		nc.Close()
	}
}

func TestConnectionWarnings(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*nats.Options)
		want   []string // a part of each warning
	}{
		"plain nats.Connect": {
			func(o *nats.Options) { *o = nats.GetDefaultOptions() },
			[]string{"after 60 failed reconnects", "only after 6m0s (PingInterval 2m0s, MaxPingsOutstanding 2)", "sends it after the reconnect"},
		},
		"no reconnect at all": {func(o *nats.Options) { o.MaxReconnect = 0 }, []string{"after 0 failed reconnects"}},
		"reconnect forbidden": {
			func(o *nats.Options) { o.AllowReconnect, o.MaxReconnect, o.ReconnectBufSize = false, 0, 0 },
			[]string{"does not reconnect"},
		},
		"no pings":        {func(o *nats.Options) { o.PingInterval = 0 }, []string{"sends no pings"}},
		"pings of 10 s":   {func(o *nats.Options) { o.PingInterval = 10 * time.Second }, nil},
		"pings of 11 s":   {func(o *nats.Options) { o.PingInterval = 11 * time.Second }, []string{"only after 33s"}},
		"a small buffer":  {func(o *nats.Options) { o.ReconnectBufSize = 1 }, []string{"nats.ReconnectBufSize(-1)"}},
		"the recommended": {func(*nats.Options) {}, nil},
	} {
		o := withNATSOptions(t)
		tc.change(&o)
		got := connectionWarnings(&nats.Conn{Opts: o})
		if len(got) != len(tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
			continue
		}
		for _, want := range tc.want {
			if !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, want) }) {
				t.Errorf("%s: %q is missing in %q", name, want, got)
			}
		}
	}
}
