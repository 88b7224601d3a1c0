package redact_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/arloliu/parti/internal/redact"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"connection refused":                         "connection refused",
		"dial nats://127.0.0.1:4222: refused":        "dial nats://127.0.0.1:4222: refused",
		"dial nats://me:secret@127.0.0.1:4222":       "dial nats://xxxxx@127.0.0.1:4222",
		"nats://token@n1 and postgres://u:p@db/x":    "nats://xxxxx@n1 and postgres://xxxxx@db/x",
		`parse "postgres://u:p@ss/w#rd@db": bad`:     `parse "postgres://xxxxx@db": bad`,
		"nats://u:p@n1:4222,nats://u:p@n2:4222 fail": "nats://xxxxx@n2:4222 fail",
	} {
		if got := redact.Text(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

type lines []string

func (l *lines) add(level, msg string, pairs []any) {
	*l = append(*l, fmt.Sprint(level, msg, pairs))
}
func (l *lines) Debug(msg string, pairs ...any) { l.add("debug ", msg, pairs) }
func (l *lines) Info(msg string, pairs ...any)  { l.add("info ", msg, pairs) }
func (l *lines) Warn(msg string, pairs ...any)  { l.add("warn ", msg, pairs) }
func (l *lines) Error(msg string, pairs ...any) { l.add("error ", msg, pairs) }

func TestLogger(t *testing.T) {
	var got lines
	l := redact.Logger(&got)
	for _, say := range []func(string, ...any){l.Debug, l.Info, l.Warn, l.Error} {
		say("went wrong", "error", errors.New("at db://u:p@h"), "text", "at db://u:p@h", "n", 3)
	}
	for i, level := range []string{"debug", "info", "warn", "error"} {
		if want := level + " went wrong[error at db://xxxxx@h text at db://xxxxx@h n 3]"; got[i] != want {
			t.Errorf("got %q, want %q", got[i], want)
		}
	}
	plain := errors.New("plain")
	pairs := []any{"error", plain}
	if redact.Pairs(pairs); pairs[1] != any(plain) {
		t.Errorf("an error without credentials becomes %T", pairs[1])
	}
}
