// Package redact hides credentials in what leaves the process by the log or over HTTP.
// Errors of users' code quote the address of a database or the URL of a service, and
// those of net/url the whole of what it could not parse.
package redact

import (
	"regexp"
	"strings"
)

// rule hides what a pattern finds. Most texts have none of its hints, and are not
// searched.
type rule struct {
	hints   []string
	pattern *regexp.Regexp
	with    string
}

// People write passwords unescaped, so that where one ends cannot be told for sure:
// what is in doubt is hidden.
var rules = []rule{
	// What a URL carries before its host, a name and a password or a token: up to the
	// last @ of the word, or of what is quoted, or behind a password with blanks.
	{[]string{"://"}, regexp.MustCompile(`://\S*@`), "://xxxxx@"},
	{[]string{"://"}, regexp.MustCompile(`("[A-Za-z][\w+.-]*://)(?:[^"\\]|\\.)*@`), "${1}xxxxx@"},
	{[]string{"://"}, regexp.MustCompile(`://[^\s@/:"\[]+:[^\s@/:"\d][^@"\n]*@`), "://xxxxx@"},
	// The same cut off before the @: what is no port.
	{[]string{"://"}, regexp.MustCompile(`(://[^\s@/:"\[]+:)[^\s@/"'\\:,;?#)\]}>]*[^\s@/"'\\:,;?#)\]}>\d][^\s@/"']*`), "${1}xxxxx"},
	{[]string{"invalid port"}, regexp.MustCompile(`invalid port ":(?:[^"\\]|\\.)*"`), `invalid port "xxxxx"`},
	// me:secret@tcp(db:3306)/list
	{[]string{"@"}, regexp.MustCompile(`[^\s:@/"]+:\S*@(\w*\()`), "xxxxx@$1"},
	// password='secret' and password=secret of a data source name, token=secret of a
	// query, and both in JSON.
	{[]string{"="}, regexp.MustCompile(`(?i)([?&][\w.-]*` + secret + `=)[^\s&"]*`), "${1}xxxxx"},
	{[]string{"="}, regexp.MustCompile(`(?i)((?:^|[^?&\w.-])[\w.-]*` + secret + `\s*=\s*)(?:'(?:[^'\\]|\\.|'')*(?:'|$)|"(?:[^"\\]|\\.|"")*(?:"|$)|\S+)`), "${1}xxxxx"},
	{[]string{`"`}, regexp.MustCompile(`(?i)("[\w.-]*` + secret + `\\?"\s*:\s*\\?")(?:[^"\\]|\\[^"])*`), "${1}xxxxx"},
	// Headers of HTTP.
	{[]string{"uthorization", "UTHORIZATION"}, regexp.MustCompile(`(?i)(\bauthorization["']?\s*[:=]\s*\W{0,2}(?:(?:basic|bearer|token|digest|negotiate)\s+)?)[^\s"'\])]+`), "${1}xxxxx"},
	{[]string{"earer ", "EARER "}, regexp.MustCompile(`(?i)(\bbearer\s+)[\w.~+/=-]+`), "${1}xxxxx"},
	// The seed of an nkey, and a JWT.
	{[]string{"SU", "SA", "SO", "SC", "SN", "SX"}, regexp.MustCompile(`S[UAOCNX][A-Z2-7]{56}`), "xxxxx"},
	{[]string{"eyJ"}, regexp.MustCompile(`eyJ[\w-]{8,}(?:\.[\w-]*)*`), "xxxxx"},
}

// secret ends the names of what is nobody's business.
const secret = `(?:password|passwd|passphrase|pass|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|jwt|nkey|seed|signature|sig|credentials?)`

// Text returns a text without credentials. Hiding may bring together what looks like
// one, so that it looks again until there is nothing more to hide: twice, as a rule.
func Text(text string) string {
	for range 20 {
		was := text
		for _, r := range rules {
			if r.mayBeIn(text) {
				text = r.pattern.ReplaceAllString(text, r.with)
			}
		}
		if text == was {
			break
		}
	}
	return text
}

func (r *rule) mayBeIn(text string) bool {
	for _, h := range r.hints {
		if strings.Contains(text, h) {
			return true
		}
	}
	return false
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
