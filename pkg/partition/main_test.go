package partition_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(envProcess) != "" {
		workInProcess()
		return
	}
	goleak.VerifyTestMain(m)
}
