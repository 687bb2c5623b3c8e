package operating

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/e2e"
)

// A tool serves until it is told to end, and then ends well.
func TestListenAsAProcess(t *testing.T) {
	p := e2e.NewProcess(t, "listen", binaries.Parley, []string{"PARLEY_ADDR=127.0.0.1:0"}, "listen")
	p.Start()
	listening := regexp.MustCompile(`listening at (http://\S+),`)
	var found []string
	p.Await("where it listens", func() bool {
		found = listening.FindStringSubmatch(p.Tail())
		return found != nil
	})

	require.Equal(t, "ready\n", binaries.Run(t, nil, "health", "--url", found[1]+"/livez"))
	p.Stop()
}

func TestVersion(t *testing.T) {
	require.Equal(t, "parley e2e\n", binaries.Run(t, nil, "--version"))
}
