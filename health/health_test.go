package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type worker parti.Status

func (w *worker) Status() parti.Status { return parti.Status(*w) }

func get(t *testing.T, h http.Handler, method, path string) (code int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return rec.Code, rec.Body.String()
}

func TestHandler(t *testing.T) {
	w := &worker{State: parti.StateStable, Worker: "worker-3", Version: 7, Ready: true, Live: true}
	h := health.Handler(w)
	for _, tc := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/livez", 200, "ok\n"},
		{"HEAD", "/livez", 200, "ok\n"},
		{"GET", "/readyz", 200, "ok\n"},
		{"POST", "/readyz", 405, ""},
		{"GET", "/elsewhere", 404, ""},
	} {
		if code, body := get(t, h, tc.method, tc.path); code != tc.code || tc.body != "" && body != tc.body {
			t.Errorf("%s %s: %d %q", tc.method, tc.path, code, body)
		}
	}
	code, body := get(t, h, "GET", "/status")
	var s parti.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 || s != parti.Status(*w) {
		t.Errorf("status %d: %s %v", code, body, err)
	}

	for path, kind := range map[string]string{"/livez": "text/plain; charset=utf-8", "/readyz": "text/plain; charset=utf-8", "/status": "application/json"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		if got := rec.Header(); got.Get("Content-Type") != kind || got.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, got)
		}
	}

	w.Ready, w.NotReady = false, "being taken over"
	if code, body := get(t, h, "GET", "/readyz"); code != 503 || body != "being taken over\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	if code, _ := get(t, h, "GET", "/livez"); code != 200 {
		t.Errorf("not ready is not dead: %d", code)
	}
	w.Live, w.NotLive = false, "ended"
	if code, body := get(t, h, "GET", "/livez"); code != 503 || body != "ended\n" {
		t.Errorf("not live: %d %q", code, body)
	}
}

func TestDrain(t *testing.T) {
	if code, _ := get(t, health.Handler(&worker{}), "GET", "/drain"); code != 404 {
		t.Errorf("drained without being asked to: %d", code)
	}
	var err error
	h := health.Handler(&worker{}, health.WithDrain(func(ctx context.Context) error { return errors.Join(err, ctx.Err()) }))
	if code, body := get(t, h, "GET", "/drain"); code != 200 || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	rec := httptest.NewRecorder()
	if h.ServeHTTP(rec, httptest.NewRequestWithContext(gone, "GET", "/drain", nil)); rec.Code != 200 {
		t.Errorf("called off with its asker: %d %s", rec.Code, rec.Body)
	}
	err = errors.New("work did not end")
	if code, body := get(t, h, "GET", "/drain"); code != 500 || body != "work did not end\n" {
		t.Errorf("%d %q", code, body)
	}
}
