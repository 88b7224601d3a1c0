package parti

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"time"
)

type fakeAgent struct{ ElectionAgent }

type fakeUpdater struct{ WorkerConsumerUpdater }

type fakeMetrics struct {
	NopMetrics

	name string
}

func TestOptions(t *testing.T) {
	boom := errors.New("boom")
	hooks := &Hooks{OnError: func(context.Context, error) error { return boom }}
	logger, metrics, agent, updater := slog.Default(), &fakeMetrics{name: "mine"}, &fakeAgent{}, &fakeUpdater{}
	o := newOptions([]Option{
		WithHooks(hooks), WithLogger(logger), WithMetrics(metrics), WithElectionAgent(agent), WithWorkerConsumerUpdater(updater),
	})
	hooks.OnError = nil
	if o.hooks.OnError == nil || !errors.Is(o.hooks.OnError(t.Context(), nil), boom) {
		t.Error("hooks were not copied")
	}
	if o.logger != Logger(logger) || o.metrics != MetricsCollector(metrics) || o.agent != ElectionAgent(agent) || o.updater != WorkerConsumerUpdater(updater) {
		t.Errorf("got %+v", o)
	}
	set := reflect.ValueOf(o)
	for f := range set.Type().Fields() {
		if set.FieldByIndex(f.Index).IsZero() {
			t.Errorf("no option sets %s", f.Name)
		}
	}
}

func TestOptionsOfNothing(t *testing.T) {
	for name, opts := range map[string][]Option{
		"none": nil,
		"nil": {
			nil, WithHooks(nil), WithLogger(nil), WithMetrics(nil), WithElectionAgent(nil), WithWorkerConsumerUpdater(nil),
		},
	} {
		o := newOptions(opts)
		if o.logger != (nopLogger{}) || o.metrics != (NopMetrics{}) || o.agent != nil || o.updater != nil || !reflect.ValueOf(o.hooks).IsZero() {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestNopsAcceptEverything(t *testing.T) {
	for _, m := range []MetricsCollector{NopMetrics{}, &fakeMetrics{}} {
		v := reflect.ValueOf(m)
		for method := range v.Type().Methods() {
			in := []reflect.Value{v}
			for arg := range method.Type.Ins() {
				if len(in) > 1 || arg != v.Type() {
					in = append(in, reflect.Zero(arg))
				}
			}
			if len(in) == method.Type.NumIn() {
				method.Func.Call(in)
			} else {
				t.Errorf("%s takes %d arguments, not %d", method.Name, method.Type.NumIn(), len(in))
			}
		}
	}
	var l Logger = nopLogger{}
	l.Debug("d", "after", time.Second)
	l.Info("i")
	l.Warn("w", "odd")
	l.Error("e", "error", errors.New("boom"))
}
