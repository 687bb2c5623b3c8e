package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestJudgeEveryStatus has a row for each status there is; what is not named is
// Failed.
func TestJudgeEveryStatus(t *testing.T) {
	named := map[int]Class{
		http.StatusOK: Delivered, http.StatusCreated: Delivered, http.StatusAccepted: Delivered,
		http.StatusNonAuthoritativeInfo: Delivered, http.StatusNoContent: Delivered, http.StatusResetContent: Delivered,
		http.StatusPartialContent: Delivered, http.StatusMultiStatus: Delivered, http.StatusAlreadyReported: Delivered,
		http.StatusIMUsed: Delivered, 299: Delivered,
		http.StatusGone:            Gone,
		http.StatusTooManyRequests: Throttled, http.StatusBadGateway: Throttled,
		http.StatusServiceUnavailable: Throttled, http.StatusGatewayTimeout: Throttled,
		// Near those above, and yet none of them.
		http.StatusSwitchingProtocols: Failed, 199: Failed, http.StatusMultipleChoices: Failed, http.StatusMovedPermanently: Failed,
		http.StatusFound: Failed, http.StatusSeeOther: Failed, http.StatusNotModified: Failed, http.StatusTemporaryRedirect: Failed,
		http.StatusPermanentRedirect: Failed, http.StatusBadRequest: Failed, http.StatusUnauthorized: Failed, http.StatusForbidden: Failed,
		http.StatusNotFound: Failed, http.StatusRequestTimeout: Failed, http.StatusConflict: Failed, http.StatusRequestEntityTooLarge: Failed,
		http.StatusTooEarly: Failed, http.StatusInternalServerError: Failed, http.StatusNotImplemented: Failed, 505: Failed,
		http.StatusLoopDetected: Failed, 520: Failed, 524: Failed, 599: Failed,
	}
	for status := 100; status <= 599; status++ {
		want, ok := named[status]
		if !ok && status/100 == 2 {
			want = Delivered
		}
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			got := Judge(status, nil, time.Minute)
			require.Equal(t, want, got.Class)
			// An answer that broke off, or that names no time, is judged alike.
			require.Equal(t, got, Judge(status, errors.New("body broke off"), time.Minute))
			require.Equal(t, want, Judge(status, nil, 0).Class)
			if want == Delivered {
				require.Equal(t, Judgement{Class: Delivered}, got)
				return
			}
			require.Contains(t, got.Reason, "HTTP "+strconv.Itoa(status))
			if want == Throttled {
				require.Equal(t, time.Minute, got.RetryAfter)
				require.Zero(t, Judge(status, nil, -time.Second).RetryAfter)
			} else {
				require.Zero(t, got.RetryAfter, "only throttling is told when to come back")
			}
			if status/100 == 3 {
				require.Contains(t, got.Reason, "not followed")
			}
		})
	}
}

func TestJudgeWithoutAnAnswer(t *testing.T) {
	require.Equal(t, Judgement{Class: Failed, Reason: "timeout: no complete answer within 15s"},
		Judge(0, errors.New("timeout: no complete answer within 15s"), time.Minute))
	require.Equal(t, Judgement{Class: Failed, Reason: "no answer"}, Judge(0, nil, 0))
	for _, status := range []int{-1, 99, 600, 999} {
		require.Equal(t, Failed, Judge(status, nil, 0).Class, status)
	}
}

func TestClassWords(t *testing.T) {
	for class, word := range map[Class]string{Failed: "failed", Delivered: "delivered", Throttled: "throttled", Gone: "gone", 99: "failed"} {
		require.Equal(t, word, class.String())
	}
	require.Zero(t, Judgement{}.Class, "the zero judgement retries")
}

func BenchmarkJudge(b *testing.B) {
	for _, status := range []int{200, 503} {
		b.Run(strconv.Itoa(status), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Judge(status, nil, 0)
			}
		})
	}
}
