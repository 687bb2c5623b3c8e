package deliveryworker

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook"
)

// Whatever a POST is answered is counted under one of the labels.
func TestAnswersAreCounted(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	for _, test := range []struct {
		result webhook.Result
		want   prometheus.Counter
	}{
		{webhook.Result{Status: 100}, m.answers[1]},
		{webhook.Result{Status: 204}, m.answers[2]},
		{webhook.Result{Status: 308}, m.answers[3]},
		{webhook.Result{Status: 410}, m.answers[4]},
		{webhook.Result{Status: 599}, m.answers[5]},
		{webhook.Result{Status: 999}, m.answers[0]},
		{webhook.Result{Err: errors.New("no failure of the client's")}, m.answers[0]},
		{webhook.Result{Err: &webhook.Failure{Kind: webhook.KindTimeout, Err: errors.New("late")}}, m.failures[webhook.KindTimeout]},
		{webhook.Result{Err: &webhook.Failure{Kind: webhook.KindInterrupted, Err: errors.New("stopped")}}, m.failures[webhook.KindInterrupted]},
		{webhook.Result{Status: 200, Err: &webhook.Failure{Kind: webhook.KindReset, Err: errors.New("in the body")}}, m.answers[2]},
	} {
		before := testutil.ToFloat64(test.want)
		m.answered(&test.result)
		require.Equal(t, before+1, testutil.ToFloat64(test.want), "%+v", test.result)
	}
}
