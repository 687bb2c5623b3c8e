package ingest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/broker"
)

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	next := uint64(0)
	random := func() uint64 { next++; return next }
	for name, tc := range map[string]struct {
		given []string
		want  string // empty: a new one
	}{
		"good":             {[]string{good}, good},
		"later version":    {[]string{"cc" + good[2:] + "-what-comes-then"}, good},
		"none":             {nil, ""},
		"two":              {[]string{good, good}, ""},
		"short":            {[]string{good[:54]}, ""},
		"more in 00":       {[]string{good + "-x"}, ""},
		"more, no dash":    {[]string{"01" + good[2:] + "x"}, ""},
		"version ff":       {[]string{"ff" + good[2:]}, ""},
		"no hex":           {[]string{strings.Replace(good, "a", "g", 1)}, ""},
		"upper case":       {[]string{strings.ToUpper(good)}, ""},
		"no trace":         {[]string{"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01"}, ""},
		"no parent":        {[]string{"00-0af7651916cd43dd8448eb211c80319c-" + strings.Repeat("0", 16) + "-01"}, ""},
		"dashes displaced": {[]string{strings.ReplaceAll(good, "-", "0")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := traceparent(http.Header{"Traceparent": tc.given}, random)
			again, ok := parseTraceparent(got)
			require.True(t, ok, "what comes out is valid")
			require.Equal(t, got, again)
			if tc.want != "" {
				require.Equal(t, tc.want, got)
				return
			}
			require.NotEqual(t, got, traceparent(nil, random))
			require.True(t, strings.HasSuffix(got, "-00"))
		})
	}
	zero, ok := parseTraceparent(traceparent(nil, func() uint64 { return 0 }))
	require.True(t, ok, zero)
}

func TestOptions(t *testing.T) {
	require.NoError(t, Options{Partitions: 8}.Validate())
	for name, o := range map[string]Options{
		"no partitions":       {},
		"too many":            {Partitions: 257},
		"negative body":       {Partitions: 1, MaxBody: -1},
		"negative wait":       {Partitions: 1, RepeatWait: -1},
		"publish too patient": {Partitions: 1, PublishTimeout: time.Minute},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, o.Validate(), "set it") })
	}
}

func TestNewRefuses(t *testing.T) {
	good := Deps{Publisher: &broker.Conn{}, Config: func() Config { return nil }, Metrics: prometheus.NewRegistry(), Log: zap.NewNop()}
	_, err := New(Options{Addr: "127.0.0.1:0"}, good)
	require.ErrorContains(t, err, "partitions")
	_, err = New(Options{Addr: "nowhere", Partitions: 1}, good)
	require.ErrorContains(t, err, "host:port")
	_, err = New(Options{Addr: "127.0.0.1:0", Partitions: 1}, Deps{})
	require.ErrorContains(t, err, "needs a publisher")
}
