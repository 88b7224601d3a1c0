package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/arloliu/parti/test/internal/crew"
)

// proxies are the way of one worker to each server.
type proxies struct {
	all    []*toxiproxy.Proxy
	toxics []string // names of those in place
}

func newProxies(slot int, c *crew.Servers) (*proxies, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log on their own
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &proxies{}
	for _, n := range c.Nodes {
		proxy := toxiproxy.NewProxy(api, fmt.Sprintf("worker-%d-%s", slot, n.Name), "127.0.0.1:0", n.Address())
		if err := proxy.Start(); err != nil {
			return nil, fmt.Errorf("start proxy: %w", err)
		}
		p.all = append(p.all, proxy)
	}
	return p, nil
}

func (p *proxies) urls() string {
	var out []string
	for _, proxy := range p.all {
		out = append(out, proxy.Listen)
	}
	return strings.Join(out, ",")
}

// cut closes all connections and refuses new ones.
func (p *proxies) cut() {
	for _, proxy := range p.all {
		proxy.Stop()
	}
}

// mend allows connections again.
func (p *proxies) mend() error {
	var errs []error
	for _, proxy := range p.all {
		errs = append(errs, proxy.Start())
	}
	return errors.Join(errs...)
}

// add puts a toxic into the streams named, "upstream" or "downstream".
func (p *proxies) add(kind string, attributes map[string]any, directions ...string) error {
	p.toxics = append(p.toxics, directions...)
	for _, proxy := range p.all {
		for _, d := range directions {
			body, err := json.Marshal(map[string]any{"name": d, "type": kind, "stream": d, "attributes": attributes})
			if err != nil {
				return err
			}
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(string(body))); err != nil {
				return fmt.Errorf("add toxic %s: %w", kind, err)
			}
		}
	}
	return nil
}

// clear removes all toxics.
func (p *proxies) clear() error {
	var errs []error
	for _, proxy := range p.all {
		for _, name := range p.toxics {
			errs = append(errs, proxy.Toxics.RemoveToxic(context.Background(), name))
		}
	}
	p.toxics = nil
	return errors.Join(errs...)
}

func (p *proxies) close() { p.cut() }
