// Package health answers the probes of Kubernetes, or of whatever else keeps a
// worker running, and shows what the worker says about itself:
//
//	http.Handle("/", health.Handler(mgr))
//
// See [parti.Manager.Status] for when a worker is ready and when it is live.
package health

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/arloliu/parti"
)

// Worker is what is asked; *parti.Manager is one.
type Worker interface {
	Status() parti.Status
}

// Option adds to a [Handler].
type Option func(*http.ServeMux)

// WithDrain serves GET /drain too, which calls stop, usually the Stop of the
// manager, and answers when that returns: 200, or 500 with the error as text. It is
// for the preStop hook of Kubernetes. Whoever reaches it can stop the worker.
func WithDrain(stop func(context.Context) error) Option {
	return func(mux *http.ServeMux) {
		mux.HandleFunc("GET /drain", func(rw http.ResponseWriter, r *http.Request) {
			// An asker that does not wait does not call it off.
			if err := stop(context.WithoutCancel(r.Context())); err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
				return
			}
			answer(rw, true, "")
		})
	}
}

// Handler serves, to GET and HEAD:
//
//	/livez    200 while the worker is live, else 503, with the reason as text
//	/readyz   200 while the worker is ready, else 503, with the reason as text
//	/status   200, the worker's [parti.Status] as JSON
//
// None of these blocks, and they answer before Start and after Stop too.
func Handler(w Worker, opts ...Option) http.Handler {
	mux := http.NewServeMux()
	for _, opt := range opts {
		opt(mux)
	}
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		s := w.Status()
		answer(rw, s.Live, s.NotLive)
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		s := w.Status()
		answer(rw, s.Ready, s.NotReady)
	})
	mux.HandleFunc("GET /status", func(rw http.ResponseWriter, _ *http.Request) {
		b, err := json.MarshalIndent(w.Status(), "", "  ")
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		_, _ = rw.Write(append(b, '\n')) // the asker may have gone
	})
	return mux
}

func answer(rw http.ResponseWriter, ok bool, why string) {
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	if !ok {
		rw.WriteHeader(http.StatusServiceUnavailable)
	} else {
		why = "ok"
	}
	_, _ = rw.Write([]byte(why + "\n")) // the asker may have gone
}
