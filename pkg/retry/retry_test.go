package retry_test

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/retry"
)

func schedules() *rapid.Generator[retry.Schedule] {
	delays := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(1, int64(retry.MaxDelay)).Draw(t, "delay"))
	})
	return rapid.Custom(func(t *rapid.T) retry.Schedule {
		return rapid.SliceOfN(delays, 1, retry.MaxEntries).Draw(t, "schedule")
	})
}

func TestDelayStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules().Draw(t, "s")
		require.NoError(t, s.Validate())
		attempt := rapid.IntRange(-3, len(s)+5).Draw(t, "attempt")
		rnd := rapid.OneOf(rapid.Float64Range(0, math.Nextafter(1, 0)), rapid.Float64()).Draw(t, "rnd")
		got, ok := s.Delay(attempt, rnd)
		require.Equal(t, attempt <= len(s), ok)
		if !ok {
			require.Zero(t, got)
			return
		}
		entry := float64(s[max(attempt, 1)-1])
		require.GreaterOrEqual(t, float64(got), math.Floor(entry*(1-retry.Jitter)))
		require.LessOrEqual(t, float64(got), math.Ceil(entry*(1+retry.Jitter)))
		again, _ := s.Delay(attempt, rnd)
		require.Equal(t, got, again, "equal arguments, equal delay")
	})
}

func TestDelayGrowsWithRnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules().Draw(t, "s")
		attempt := rapid.IntRange(1, len(s)).Draw(t, "attempt")
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		low, _ := s.Delay(attempt, min(a, b))
		high, _ := s.Delay(attempt, max(a, b))
		require.LessOrEqual(t, low, high)
	})
}

func TestDelay(t *testing.T) {
	for _, c := range []struct {
		attempt int
		rnd     float64
		want    time.Duration
		ok      bool
	}{
		{1, 0, 800 * time.Millisecond, true},
		{1, 0.5, time.Second, true},
		{0, 0.5, time.Second, true},
		{2, 0.75, 5500 * time.Millisecond, true},
		{10, 0.5, 6 * time.Hour, true},
		{11, 0.5, 0, false},
		{1, math.NaN(), 800 * time.Millisecond, true},
		{1, math.Inf(1), 1200 * time.Millisecond, true},
		{1, -4, 800 * time.Millisecond, true},
	} {
		got, ok := retry.Default().Delay(c.attempt, c.rnd)
		require.Equal(t, c.ok, ok, "%+v", c)
		require.InDelta(t, c.want, got, 10, "%+v", c) // ns: what a float64 can lose
	}
	_, ok := retry.Schedule(nil).Delay(1, 0)
	require.False(t, ok)
}

func TestTotal(t *testing.T) {
	require.Equal(t, 10*time.Hour+51*time.Minute+21*time.Second, retry.Default().Total())
	require.Zero(t, retry.Schedule(nil).Total())
}

func TestLongest(t *testing.T) {
	require.Equal(t, 6*time.Hour, retry.Default().Longest())
	require.Equal(t, 9*time.Second, retry.Schedule{time.Second, 9 * time.Second, 2 * time.Second}.Longest())
	require.Zero(t, retry.Schedule(nil).Longest())
}

func TestOf(t *testing.T) {
	s, err := retry.Of(nil)
	require.NoError(t, err)
	require.Equal(t, retry.Default(), s)
	s, err = retry.Of([]chat.Duration{chat.Duration(time.Second), chat.Duration(retry.MaxDelay)})
	require.NoError(t, err)
	require.Equal(t, retry.Schedule{time.Second, retry.MaxDelay}, s)
	_, err = retry.Of([]chat.Duration{0})
	require.ErrorContains(t, err, "delay 1")
}

func TestValidate(t *testing.T) {
	require.NoError(t, retry.Default().Validate())
	require.NoError(t, retry.Schedule(slices.Repeat([]time.Duration{1}, 50)).Validate())
	for _, s := range []retry.Schedule{
		nil,
		{},
		slices.Repeat([]time.Duration{1}, 51),
		{time.Second, 0},
		{-time.Second},
		{retry.MaxDelay + 1},
	} {
		require.ErrorContains(t, s.Validate(), "retry schedule", "%v", s)
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "120": 2 * time.Minute, " 7\t": 7 * time.Second, "007": 7 * time.Second,
		"3600": time.Hour, "3601": time.Hour, "99999999999999999999999999": time.Hour,
		"Sun, 01 Mar 2026 12:00:30 GMT":  30 * time.Second,
		"Sunday, 01-Mar-26 12:00:30 GMT": 30 * time.Second, // RFC 850
		"Sun Mar  1 12:00:30 2026":       30 * time.Second, // asctime
		"Sun, 01 Mar 2026 11:59:30 GMT":  0,
		"Sun, 01 Mar 2037 12:00:00 GMT":  time.Hour,
	} {
		got, ok := retry.ParseRetryAfter(header, now, time.Hour)
		require.True(t, ok, header)
		require.Equal(t, want, got, header)
	}
	for _, bad := range []string{"", "  ", "-1", "+1", "1.5", "1s", "soon", "2026-03-01T12:00:00Z", "1 2", "١٢"} {
		got, ok := retry.ParseRetryAfter(bad, now, time.Hour)
		require.False(t, ok, bad)
		require.Zero(t, got, bad)
	}
}

func TestParseRetryAfterStaysInItsBounds(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		limit := time.Duration(rapid.Int64Range(0, int64(retry.MaxDelay)).Draw(t, "limit"))
		seconds := rapid.Uint64().Draw(t, "seconds")
		got, ok := retry.ParseRetryAfter(strconv.FormatUint(seconds, 10), now, limit)
		require.True(t, ok)
		want := limit
		if seconds <= uint64(limit/time.Second) {
			want = time.Duration(seconds) * time.Second
		}
		require.Equal(t, want, got)

		shift := time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "shift")) * time.Second
		got, ok = retry.ParseRetryAfter(now.Add(shift).Format(http.TimeFormat), now, limit)
		require.True(t, ok)
		require.Equal(t, min(max(shift, 0), limit), got)

		got, _ = retry.ParseRetryAfter(rapid.String().Draw(t, "any"), now, limit)
		require.True(t, got >= 0 && got <= limit)
	})
}
