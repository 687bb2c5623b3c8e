package broker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "3.0.0": true, "2.12.1-RC.2": true,
		"2.11.9": false, "1.99.0": false, "": false, "nats": false, "2.x.1": false,
	} {
		err := checkVersion(version)
		if ok {
			require.NoError(t, err, version)
		} else {
			require.ErrorContains(t, err, "needs 2.12 or later", version)
		}
	}
}

func TestSkew(t *testing.T) {
	before := time.Unix(1000, 0)
	after := before.Add(time.Second)
	for at, want := range map[time.Time]time.Duration{
		before: 0, after: 0, before.Add(time.Millisecond): 0, {}: 0,
		before.Add(-2 * time.Second): -2 * time.Second, after.Add(3 * time.Second): 3 * time.Second,
	} {
		require.Equal(t, want, skewOf(&jetstream.StreamInfo{TimeStamp: at}, before, after), at)
	}
}

func TestCheckClock(t *testing.T) {
	before := time.Unix(1000, 0)
	after := before.Add(time.Second)
	for at, ok := range map[time.Time]bool{
		before: true, after: true, before.Add(-2 * time.Second): true, after.Add(3 * time.Second): true,
		before.Add(-4 * time.Second): false, after.Add(4 * time.Second): false, {}: true,
	} {
		err := checkSkew(skewOf(&jetstream.StreamInfo{TimeStamp: at}, before, after))
		if ok {
			require.NoError(t, err, at)
		} else {
			require.ErrorContains(t, err, "synchronise", at)
		}
	}
}
