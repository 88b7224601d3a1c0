// Package redact hides the credentials of URLs in what leaves the process by the log
// or over HTTP. Errors of users' code quote the address of a database, and those of
// net/url the whole of what it could not parse.
package redact

import (
	"regexp"
	"strings"
)

// userinfo is what a URL carries before its host: a name and a password, or a
// token. People write passwords unescaped, so that where it ends cannot be told for
// sure: at the last @ of the word.
var userinfo = regexp.MustCompile(`://\S*@`)

// Text returns a text without credentials.
func Text(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	return userinfo.ReplaceAllString(text, "://xxxxx@")
}

// Pairs redacts the values of a line of the log in place. Errors that have nothing to
// hide stay errors.
func Pairs(pairs []any) {
	for i := 1; i < len(pairs); i += 2 {
		switch v := pairs[i].(type) {
		case string:
			pairs[i] = Text(v)
		case error:
			text := v.Error()
			if hidden := Text(text); hidden != text {
				pairs[i] = hidden
			}
		}
	}
}

// Leveled is a parti.Logger.
type Leveled interface {
	Debug(msg string, keysAndValues ...any)
	Info(msg string, keysAndValues ...any)
	Warn(msg string, keysAndValues ...any)
	Error(msg string, keysAndValues ...any)
}

// Logger returns a logger that passes lines on without credentials.
func Logger(to Leveled) Leveled { return logger{to} }

type logger struct{ to Leveled }

func (l logger) Debug(msg string, pairs ...any) { Pairs(pairs); l.to.Debug(msg, pairs...) }
func (l logger) Info(msg string, pairs ...any)  { Pairs(pairs); l.to.Info(msg, pairs...) }
func (l logger) Warn(msg string, pairs ...any)  { Pairs(pairs); l.to.Warn(msg, pairs...) }
func (l logger) Error(msg string, pairs ...any) { Pairs(pairs); l.to.Error(msg, pairs...) }
