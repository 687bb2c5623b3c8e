package bench

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func scalingOptions() ScalingOptions {
	return ScalingOptions{
		Options: Options{
			Setup:       Setup{Body: 300, Journal: "all", Bot: "echo", RedisURL: "redis://127.0.0.1:1", SinkDelay: time.Millisecond},
			Connections: 4, Conversations: 8, Messages: 100, Rounds: 1,
		},
		Workers: []int{1, 2}, NATSURL: "nats://127.0.0.1:1", MaxInFlight: 8,
	}
}

func TestScalingOptionsAreChecked(t *testing.T) {
	require.NoError(t, scalingOptions().Validate())
	for want, change := range map[string]func(o *ScalingOptions){
		"--workers is []":         func(o *ScalingOptions) { o.Workers = nil },
		"--workers is [2 1]":      func(o *ScalingOptions) { o.Workers = []int{2, 1} },
		"--workers is [0 1]":      func(o *ScalingOptions) { o.Workers = []int{0, 1} },
		"--workers is [1 65]":     func(o *ScalingOptions) { o.Workers = []int{1, 65} },
		"--nats-url is missing":   func(o *ScalingOptions) { o.NATSURL = "" },
		"--redis-url is missing":  func(o *ScalingOptions) { o.RedisURL = "" },
		"--sink-delay is -1s":     func(o *ScalingOptions) { o.SinkDelay = -time.Second },
		"--redis and --paused":    func(o *ScalingOptions) { o.Paused = true },
		"--in-flight is 0":        func(o *ScalingOptions) { o.MaxInFlight = 0 },
		"--connections is 0":      func(o *ScalingOptions) { o.Connections = 0 },
		"--conversations is 1000": func(o *ScalingOptions) { o.Connections, o.Conversations = 1001, 1000 },
	} {
		o := scalingOptions()
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}

func TestScalingTable(t *testing.T) {
	s := Scaling{Origin: Origin{Machine: "a machine"}, SinkDelay: 20 * time.Millisecond, MaxInFlight: 8, Rows: []ScalingRow{
		{Workers: 1, Round: Round{DeliveredRate: 400}}, {Workers: 2, Round: Round{DeliveredRate: 780}},
	}}
	var out bytes.Buffer
	require.NoError(t, s.WriteTable(&out))
	require.Contains(t, out.String(), "1.95")
	require.Contains(t, out.String(), "the sink takes 20ms an answer")
	out.Reset()
	require.NoError(t, s.WriteJSON(&out))
	require.Contains(t, out.String(), `"workers": 2`)
}
