//go:build unix

package suspend_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/suspend"
)

// The test binary is the process: it says back each line that it reads.
func TestMain(m *testing.M) {
	if os.Getenv("PARLEY_TEST_ECHO") != "" {
		_, _ = io.Copy(os.Stdout, os.Stdin)
		return
	}
	m.Run()
}

func TestSuspendAndResume(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "PARLEY_TEST_ECHO=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := bufio.NewReader(out)
	say := func(line string) {
		_, err := io.WriteString(in, line)
		require.NoError(t, err)
	}

	say("one\n")
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "one\n", line)

	require.NoError(t, suspend.Suspend(cmd.Process))
	var status syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())

	require.NoError(t, suspend.Resume(cmd.Process))
	say("two\n")
	line, err = said.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "two\n", line)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}
