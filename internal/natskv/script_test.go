package natskv_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/natskv"
)

// scripted plays JetStream on a server that has none, to say what a real one
// says only in rare races.
type scripted struct {
	t  *testing.T
	d  *natsd
	nc *nats.Conn // of the impostor
	// writes gets what is published to keys.
	writes chan *nats.Msg
	// keys and last are what the answer to a listing says.
	keys []string
	last int
	// absent is how many questions about a bucket find none. Who then creates
	// it finds that somebody else was faster.
	absent atomic.Int64
}

// startScript starts the impostor and opens a store on it.
func startScript(t *testing.T, change func(*scripted)) (*scripted, *natskv.Store) {
	t.Helper()
	d := startServer(t, func(o *server.Options) { o.JetStream = false })
	sc := &scripted{t: t, d: d, nc: d.connect(t).Conn(), writes: make(chan *nats.Msg, 100)}
	if change != nil {
		change(sc)
	}
	// One subscription, so that requests are answered one after the other.
	if _, err := sc.nc.Subscribe(">", func(m *nats.Msg) {
		switch {
		case strings.Contains(m.Subject, "STREAM.INFO."):
			if sc.absent.Add(-1) >= 0 {
				sc.answer(m, apiError(404, 10059, "stream not found"))
				return
			}
			sc.info(m)
		case strings.Contains(m.Subject, "STREAM.CREATE."):
			sc.answer(m, apiError(400, 10058, "stream name already in use with a different configuration"))
		case strings.Contains(m.Subject, "CONSUMER.CREATE."):
			sc.answer(m, map[string]any{"num_pending": 1})
		case strings.Contains(m.Subject, "$KV."):
			sc.writes <- m
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := sc.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sc, open(t, d.connect(t), config())
}

func (sc *scripted) answer(m *nats.Msg, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		sc.t.Error(err)
	}
	if err := m.Respond(body); err != nil {
		sc.t.Error(err)
	}
}

func (sc *scripted) info(m *nats.Msg) {
	_, name, _ := strings.Cut(m.Subject, "STREAM.INFO.KV_")
	subjects := map[string]int{}
	for _, k := range sc.keys {
		subjects["$KV."+name+"."+k] = 1
	}
	sc.answer(m, map[string]any{
		"config": jetstream.StreamConfig{
			Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"},
			MaxMsgsPerSubject: 1, AllowRollup: true, Replicas: 1, MaxConsumers: 10_000,
		},
		"created": "2026-01-01T00:00:00Z",
		"state":   map[string]any{"last_seq": sc.last, "subjects": subjects},
	})
}

func apiError(code, errCode int, text string) map[string]any {
	return map[string]any{"error": map[string]any{"code": code, "err_code": errCode, "description": text}}
}

// message is one that a consumer delivers.
func message(key string, sseq, cseq, pending int) *nats.Msg {
	return &nats.Msg{
		Subject: "$KV.ids." + key,
		Reply:   fmt.Sprintf("$JS.ACK.KV_ids.w.1.%d.%d.1700000000000000000.%d", sseq, cseq, pending),
		Sub:     &nats.Subscription{},
	}
}

// heartbeat is an idle heartbeat behind message cseq.
func heartbeat(cseq int) *nats.Msg {
	m := status("100", "Idle Heartbeat")
	m.Header.Set("Nats-Last-Consumer", strconv.Itoa(cseq))
	return m
}

// status is a message about a consumer.
func status(code, text string) *nats.Msg {
	return &nats.Msg{Header: nats.Header{"Status": {code}, "Description": {text}}}
}
