package natskv_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/arloliu/parti/internal/natskv"
)

// FuzzCheckKey: what passes for a key or a filter is a subject of the bucket and no
// other, to the server too.
func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"g.hb.w-0", "g.>", ">", "", ".", "a..b", "*", "a.*", "a b", "a\r\nPUB x 1", "\xff", "a.>.>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		err := natskv.CheckKey(s)
		if err != nil && !errors.Is(err, natskv.ErrRefused) {
			t.Fatalf("not ErrRefused: %v", err)
		}
		if err == nil && !server.IsValidLiteralSubject("$KV.b."+s) {
			t.Errorf("%q passes for a key", s)
		}
		if natskv.CheckFilter(s) == nil && (!server.IsValidSubject("$KV.b."+s) || strings.Contains(s, "*")) {
			t.Errorf("%q passes for a filter", s)
		}
	})
}
