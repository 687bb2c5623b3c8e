package deliveryworker

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// What an answer's Retry-After makes of the message's next attempt.
func TestRetryAfterOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that a date is as far away as it says
		now := time.Now().UTC()
		date := func(d time.Duration, form string) string { return now.Add(d).Format(form) }
		const rfc850, asctime = "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC
		h := &handler{Options: Options{MaxRetryAfter: time.Hour}}
		for _, c := range []struct {
			header string
			want   time.Duration
		}{
			{"", 0},
			{"0", 0},
			{"7", 7 * time.Second},
			{" 7 ", 7 * time.Second},
			{"007", 7 * time.Second},
			{"3600", time.Hour},
			{"3601", time.Hour},
			{"86400", time.Hour},
			{"9223372036854775808", time.Hour},
			{"99999999999999999999999999999999", time.Hour},
			{date(90*time.Second, http.TimeFormat), 90 * time.Second},
			{date(90*time.Second, rfc850), 90 * time.Second},
			{date(90*time.Second, asctime), 90 * time.Second},
			{date(24*time.Hour, http.TimeFormat), time.Hour},
			{date(24*time.Hour, rfc850), time.Hour},
			{date(24*time.Hour, asctime), time.Hour},
			{"Fri, 31 Dec 9999 23:59:59 GMT", time.Hour},
			{date(-time.Second, http.TimeFormat), 0},
			{date(-time.Second, rfc850), 0},
			{date(-time.Second, asctime), 0},
			{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
			{"-7", 0},
			{"+7", 0},
			{"7.5", 0},
			{"7s", 0},
			{"1e3", 0},
			{"0x7", 0},
			{"7, 8", 0},
			{"soon", 0},
			{"Fri, 31 Feb 2027 00:00:00 GMT", 0},
			{now.Add(time.Minute).Format(time.RFC3339), 0},
			{"\x00", 0},
		} {
			for status := 100; status <= 599; status++ {
				want := time.Duration(0)
				switch {
				case status/100 == 2:
					require.Equal(t, "done", h.judge(t.Context(), &chat.Endpoint{}, &webhook.Result{Status: status, RetryAfter: c.header}).String())
					continue
				case status == http.StatusGone:
					continue // TestGone
				case status == 429 || status == 502 || status == 503 || status == 504:
					want = c.want
				}
				got := h.judge(t.Context(), &chat.Endpoint{}, &webhook.Result{Status: status, RetryAfter: c.header}).String()
				require.Contains(t, got, "retry after "+want.String()+": HTTP ", "%d with Retry-After %q", status, c.header)
			}
		}
	})
}
