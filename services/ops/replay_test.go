package ops_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/replay"
	"github.com/parleyhq/parley/services/ops"
)

// run runs jobs until the test ends.
func (a *api) run() {
	a.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.replays.Run(ctx) }()
	a.t.Cleanup(func() { cancel(); require.ErrorIs(a.t, <-done, context.Canceled) })
}

func TestReplays(t *testing.T) {
	a := newAPI(t) // a message has died at crm and at archive
	none, _ := ok[ops.ReplayList](a, http.StatusOK, request{method: http.MethodGet, path: "/replays"})
	require.Empty(t, none.Items)

	dry, _ := ok[ops.ReplayPreview](a, http.StatusOK, request{method: http.MethodPost, path: "/replays", body: `{"all":true,"dryRun":true}`})
	require.EqualValues(t, 2, dry.Total)
	require.Len(t, dry.Sample, 2)
	require.Equal(t, a.dead.MessageID, dry.Sample[0].MessageID)

	body := `{"filter":{"endpoint":"crm","since":"1h"},"messages":["` + a.dead.MessageID + `"],"rate":5,"reason":"crm is back"}`
	made, got := ok[ops.ReplayJob](a, http.StatusAccepted, request{method: http.MethodPost, path: "/replays", body: body})
	require.Equal(t, ops.Root+"/replays/"+made.ID, got.Header.Get("Location"))
	require.Equal(t, replay.Replay, made.Action)
	require.Equal(t, replay.Running, made.State)
	require.Equal(t, "the bootstrap token", made.By)
	require.Equal(t, "crm", made.Filter.Destination)
	require.Equal(t, chat.StageBot, made.Filter.Stage)
	since, err := time.Parse(time.RFC3339Nano, made.Filter.Since)
	require.NoError(t, err)
	require.WithinDuration(t, made.CreatedAt.Add(-time.Hour), since, time.Minute, "a duration back is from when it was made")
	require.False(t, made.Counted)

	at := "/replays/" + made.ID
	paused, _ := ok[ops.ReplayJob](a, http.StatusOK, request{method: http.MethodPost, path: at + "/pause"})
	require.Equal(t, replay.Paused, paused.State)
	resumed, _ := ok[ops.ReplayJob](a, http.StatusOK, request{method: http.MethodPost, path: at + "/resume"})
	require.Equal(t, replay.Running, resumed.State)

	a.run()
	var job ops.ReplayJob
	require.Eventually(t, func() bool {
		job, _ = ok[ops.ReplayJob](a, http.StatusOK, request{method: http.MethodGet, path: at})
		return job.State.Ended()
	}, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, replay.Done, job.State)
	require.True(t, job.Counted)
	require.EqualValues(t, 1, job.Total)
	require.EqualValues(t, 1, job.Done+job.Left)
	require.NotNil(t, job.EndedAt)
	for _, action := range []string{"pause", "resume", "cancel"} {
		a.refused(http.StatusConflict, "ended", request{method: http.MethodPost, path: at + "/" + action})
		a.refused(http.StatusNotFound, "not-found", request{method: http.MethodPost, path: "/replays/rpl_none/" + action})
	}
	a.refused(http.StatusNotFound, "not-found", request{method: http.MethodGet, path: "/replays/rpl_none"})
	list, _ := ok[ops.ReplayList](a, http.StatusOK, request{method: http.MethodGet, path: "/replays"})
	require.Equal(t, []ops.ReplayJob{job}, list.Items)
}

func TestBadReplays(t *testing.T) {
	a := newAPI(t)
	for _, body := range []string{
		`{}`, `{"filter":{}}`, `{"action":"discard","all":true}`, `{"filter":{"conversation":"anna"}}`,
		`{"filter":{"endpoint":"crm","bot":"shop"}}`, `{"filter":{"since":"yesterday"}}`,
	} {
		a.refused(http.StatusUnprocessableEntity, "invalid", request{method: http.MethodPost, path: "/replays", body: body})
	}
	for _, body := range []string{`{"all":true,"action":"burn"}`, `{"all":true,"rate":-1}`} {
		a.refused(http.StatusUnprocessableEntity, "invalid", request{method: http.MethodPost, path: "/replays", body: body, offContract: true})
	}
	a.refused(http.StatusBadRequest, "bad-json", request{method: http.MethodPost, path: "/replays", body: `{"every":true}`, offContract: true})
	list, _ := ok[ops.ReplayList](a, http.StatusOK, request{method: http.MethodGet, path: "/replays"})
	require.Empty(t, list.Items)
}
