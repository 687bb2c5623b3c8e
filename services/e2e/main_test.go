package e2e

import (
	"testing"
)

// binaries are built once for all tests.
var binaries *Binaries

func TestMain(m *testing.M) {
	// The testing package exits with what m.Run returned.
	if err := Main(m, func(b *Binaries) { binaries = b }); err != nil {
		panic(err)
	}
}
