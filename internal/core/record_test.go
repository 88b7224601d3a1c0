package core

import (
	"errors"
	"math"
	"testing"
	"time"
)

// TestRecordsRefused has what JSON can carry and nobody must obey.
func TestRecordsRefused(t *testing.T) {
	head := func(b string) error { _, err := decode[headRecord]([]byte(b)); return err }
	part := func(b string) error { _, err := decode[partRecord]([]byte(b)); return err }
	lead := func(b string) error { _, err := decode[leaderRecord]([]byte(b)); return err }
	for name, c := range map[string]struct {
		read func(string) error
		val  string
	}{
		"no value":               {head, ``},
		"format 0":               {head, `{"t":1}`},
		"a later format":         {head, `{"f":2,"t":1}`},
		"a term without next":    {head, `{"f":1,"t":9223372036854775808}`},
		"a version without next": {head, `{"f":1,"v":9223372036854775808}`},
		"a worker named twice":   {head, `{"f":1,"w":[{"w":"w-1"},{"w":"w-1"}]}`},
		"a worker without name":  {head, `{"f":1,"w":[{}]}`},
		"a leader without next":  {lead, `{"f":1,"t":9223372036854775808}`},
		"too few weights":        {part, `{"f":1,"g":[{"p":["a","b"],"w":[1]}]}`},
		"no weight":              {part, `{"f":1,"g":[{"p":["a"],"w":[0]}]}`},
		"no id":                  {part, `{"f":1,"g":[{"p":[""],"w":[1]}]}`},
	} {
		if err := c.read(c.val); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v, want ErrForeign", name, err)
		}
	}
}

func TestMillisDoNotOverflow(t *testing.T) {
	for _, m := range []millis{math.MinInt64, -1, 0, 1500, math.MaxInt64} {
		d := m.duration()
		if d < 0 || d > 100*24*time.Hour {
			t.Errorf("%d ms are %v", m, d)
		}
	}
	if d := millis(1500).duration(); d != 1500*time.Millisecond {
		t.Errorf("1500 ms are %v", d)
	}
}
