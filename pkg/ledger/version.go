package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// minRedis is the least major version.
const minRedis = 7

// CheckVersion reports a Redis that is too old. One that can't be asked now is
// let pass: Parley goes on without it, and it may come back.
func CheckVersion(ctx context.Context, client Client) error {
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return nil //nolint:nilerr // documented
	}
	return checkVersion(info)
}

func checkVersion(info string) error {
	for line := range strings.Lines(info) {
		version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:")
		if !ok {
			continue
		}
		head, _, _ := strings.Cut(version, ".")
		if major, err := strconv.Atoi(head); err == nil && major < minRedis {
			return fmt.Errorf("the Redis server has version %s: Parley needs %d or later", version, minRedis)
		}
	}
	return nil
}
