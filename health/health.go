// Package health answers the probes of Kubernetes, or of whatever else keeps a
// worker running, and shows what the worker says about itself:
//
//	http.Handle("/", health.Handler(mgr))
//
// See [parti.Manager.Status] for when a worker is ready and when it is live.
package health

import (
	"encoding/json"
	"net/http"

	"github.com/arloliu/parti"
)

// Worker is what is asked; *parti.Manager is one.
type Worker interface {
	Status() parti.Status
}

// Handler serves, to GET and HEAD:
//
//	/livez    200 while the worker is live, else 503, with the reason as text
//	/readyz   200 while the worker is ready, else 503, with the reason as text
//	/status   200, the worker's [parti.Status] as JSON
//
// It never blocks, and answers before Start and after Stop too.
func Handler(w Worker) http.Handler {
	mux := http.NewServeMux()
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
