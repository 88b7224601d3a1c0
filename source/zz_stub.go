package source

import (
	"context"

	"github.com/arloliu/parti"
)

type Static struct{ p []parti.Partition }

func NewStatic(p []parti.Partition) *Static { return &Static{p} }
func (s *Static) ListPartitions(context.Context) ([]parti.Partition, error) {
	return s.p, nil
}
