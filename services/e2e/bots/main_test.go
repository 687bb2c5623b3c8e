package bots

import (
	"testing"

	"github.com/parleyhq/parley/services/e2e"
)

// binaries are built once for all tests.
var binaries *e2e.Binaries

func TestMain(m *testing.M) {
	if err := e2e.Main(m, func(b *e2e.Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}
