package source_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
)

func TestStaticCopiesItsInput(t *testing.T) {
	in := []parti.Partition{{Keys: []string{"a", "0"}, Weight: 7}}
	s := source.NewStatic(in)
	in[0].Keys[0] = "changed"
	in[0].Weight = 1

	got, err := s.ListPartitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !slices.Equal(got[0].Keys, []string{"a", "0"}) || got[0].Weight != 7 {
		t.Errorf("a change of the caller's list changed the source: %v", got)
	}

	got[0] = parti.Partition{}
	again, _ := s.ListPartitions(t.Context())
	if len(again[0].Keys) != 2 {
		t.Errorf("a change of a returned list changed the source: %v", again)
	}

	in = []parti.Partition{{Keys: []string{"b"}}}
	s.Update(in)
	in[0].Keys[0] = "changed"
	got, _ = s.ListPartitions(t.Context())
	if len(got) != 1 || got[0].Keys[0] != "b" {
		t.Errorf("after Update: %v, want the partition b", got)
	}
}

func TestStaticWithoutPartitions(t *testing.T) {
	s := source.NewStatic(nil)
	if got, err := s.ListPartitions(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("got %v, %v; want nothing", got, err)
	}
}

func TestStaticHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.NewStatic(nil).ListPartitions(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestStaticIsSafeForConcurrentUse(t *testing.T) {
	s := source.NewStatic(nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				list := make([]parti.Partition, i)
				for j := range list {
					list[j].Keys = []string{fmt.Sprint(g), fmt.Sprint(i)}
				}
				s.Update(list)
				got, err := s.ListPartitions(t.Context())
				if err != nil {
					t.Error(err)
				}
				for _, p := range got {
					if !slices.Equal(p.Keys, got[0].Keys) {
						t.Errorf("a list mixes two updates: %v", got)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func ExampleNewStatic() {
	src := source.NewStatic([]parti.Partition{
		{Keys: []string{"topic1", "p0"}, Weight: 100},
		{Keys: []string{"topic1", "p1"}, Weight: 150},
	})
	list, err := src.ListPartitions(context.Background())
	fmt.Println(list, err)
	// Output: [topic1.p0 topic1.p1] <nil>
}

func ExampleStatic_Update() {
	src := source.NewStatic([]parti.Partition{{Keys: []string{"topic1", "p0"}}})
	src.Update([]parti.Partition{{Keys: []string{"topic1", "p0"}}, {Keys: []string{"topic2", "p0"}}})
	list, _ := src.ListPartitions(context.Background())
	fmt.Println(list)
	// Output: [topic1.p0 topic2.p0]
}
