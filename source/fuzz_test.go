package source

import (
	"errors"
	"testing"
)

// FuzzDecode reads anything as a list: no panic, what is refused can be matched, and
// what is taken can be published again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `{"format":1}`, `{"format":2,"partitions":[]}`, `{"format":1,"partitions":[]}`,
		`{"format":1,"partitions":[{"keys":["a","b"],"weight":150},{"keys":["a."]}]}`,
		`{"format":1,"partitions":[{"keys":["a"]},{"keys":["a"]}]}`, `{"format":1,"partitions":[{"keys":[""]}]}`,
		`{"format":1,"partitions":[{"keys":["\ud800"],"weight":-9223372036854775808}]}`,
		`{"format":1,"partitions":[]}{}`, "{\"format\":1,\"partitions\":[{\"keys\":[\"\xff\"]}]}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("not ErrMalformed: %v", err)
			}
			return
		}
		again, err := encode(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode(again)
		if err != nil || len(back) != len(list) {
			t.Fatalf("%d partitions, then %d, %v", len(list), len(back), err)
		}
		for i := range list {
			if list[i].ID() != back[i].ID() || list[i].Weight != back[i].Weight {
				t.Errorf("%+v became %+v", list[i], back[i])
			}
		}
	})
}
