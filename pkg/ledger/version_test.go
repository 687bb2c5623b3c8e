package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckVersion(t *testing.T) {
	require.NoError(t, checkVersion("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"))
	require.NoError(t, checkVersion("redis_version:8.2.0\n"))
	require.NoError(t, checkVersion("something_else:1\n"))
	require.ErrorContains(t, checkVersion("# Server\r\nredis_version:6.2.7\r\n"), "6.2.7: Parley needs 7 or later")
}
