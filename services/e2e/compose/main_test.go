package compose

import (
	"testing"

	"github.com/parleyhq/parley/services/e2e"
)

// repository is where this module's files are.
const repository = "../../.."

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}
