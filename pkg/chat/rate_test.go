package chat_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]chat.Rate{
		"off":           {},
		"5":             {Count: 5, Per: time.Second, Burst: 5},
		"100/s":         {Count: 100, Per: time.Second, Burst: 100},
		"30/m":          {Count: 30, Per: time.Minute, Burst: 30},
		"100/s:200":     {Count: 100, Per: time.Second, Burst: 200},
		"1/m:1":         {Count: 1, Per: time.Minute, Burst: 1},
		"60/m:1":        {Count: 60, Per: time.Minute, Burst: 1},
		"100000/s:1":    {Count: 100_000, Per: time.Second, Burst: 1},
		"100/s:100000":  {Count: 100, Per: time.Second, Burst: 100_000},
		"7/s:7":         {Count: 7, Per: time.Second, Burst: 7},
		"100000/m:9999": {Count: 100_000, Per: time.Minute, Burst: 9999},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := chat.ParseRate(text)
			require.NoError(t, err)
			require.Equal(t, want, got)
			again, err := chat.ParseRate(got.String())
			require.NoError(t, err)
			require.Equal(t, want, again)
		})
	}
	for _, text := range []string{"", "0", "-1/s", "1/h", "1/", "1/s:", "1/s:0", "/s", "100001/s", "1/s:100001", "1.5/s", "1 /s", "s", "1/s:2:3"} {
		t.Run("bad "+text, func(t *testing.T) {
			_, err := chat.ParseRate(text)
			require.ErrorContains(t, err, "write it like")
		})
	}
}

func TestRateInJSON(t *testing.T) {
	type record struct {
		Limit *chat.Rate `json:"limit,omitempty"`
	}
	for text, want := range map[string]record{
		`{}`:                    {},
		`{"limit":"off"}`:       {Limit: &chat.Rate{}},
		`{"limit":"100/s:200"}`: {Limit: &chat.Rate{Count: 100, Per: time.Second, Burst: 200}},
	} {
		var got record
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		require.Equal(t, want, got)
		back, err := json.Marshal(got)
		require.NoError(t, err)
		require.JSONEq(t, text, string(back))
	}
}
