package fleet

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/arloliu/parti/internal/onecpu"
)

func TestMain(m *testing.M) {
	onecpu.InRace()
	goleak.VerifyTestMain(m)
}
