package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/services/ops"
)

// Read runs a command with --json and reads what it printed into v.
func (s *System) Read(v any, args ...string) {
	s.t.Helper()
	out := s.Parley(append(args, "--json")...)
	require.NoError(s.t, json.Unmarshal([]byte(out), v), "the JSON of parley %v: %s", args, out)
}

// Status asks the ops API what waits.
func (s *System) Status(ctx context.Context) (*ops.Status, error) {
	var status ops.Status
	_, err := s.Get(ctx, ops.Root+"/status", &status)
	return &status, err
}

// Endpoint reads an endpoint's configuration.
func (s *System) Endpoint(ctx context.Context, id string) (*ops.Endpoint, error) {
	var e ops.Endpoint
	_, err := s.Get(ctx, ops.Root+"/endpoints/"+id, &e)
	return &e, err
}

// Replay reads a replay.
func (s *System) Replay(ctx context.Context, id string) (*ops.ReplayJob, error) {
	var job ops.ReplayJob
	_, err := s.Get(ctx, ops.Root+"/replays/"+id, &job)
	return &job, err
}

// DeadLetters lists the dead letters of a channel, newest first.
func (s *System) DeadLetters(ctx context.Context, channel string) ([]ops.DeadLetter, error) {
	var all []ops.DeadLetter
	query := url.Values{"channel": {channel}, "limit": {"500"}}
	for {
		var page ops.DeadLetterPage
		if _, err := s.Get(ctx, ops.Root+"/dead-letters?"+query.Encode(), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("before", page.Next)
	}
}

// Get reads JSON from the admin server.
func (s *System) Get(ctx context.Context, path string, v any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.AdminURL()+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.OpsToken())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s answered %s: %s", path, resp.Status, body)
	}
	return resp.StatusCode, json.Unmarshal(body, v)
}

// AwaitIdle waits until nothing is under way and nothing waits: every message
// that was accepted has ended and that is recorded. A status isn't of one
// moment, and a message may move on while it is made: so nothing may wait twice
// in a row.
func (s *System) AwaitIdle() {
	s.t.Helper()
	idle := 0
	s.AwaitStatus("nothing to wait", func(status *ops.Status) bool {
		idle++
		for _, stage := range status.Stages {
			if stage.Waiting+stage.Parked.Messages > 0 {
				idle = 0
			}
		}
		return idle == 2
	})
}

// AwaitStatus waits until the status is as wanted.
func (s *System) AwaitStatus(what string, ok func(*ops.Status) bool) {
	s.t.Helper()
	var last *ops.Status
	var failed error
	Await(s.t, func() string { return fmt.Sprintf("%s; the status is %+v, %v", what, last, failed) }, func(ctx context.Context) bool {
		status, err := s.Status(ctx)
		last, failed = status, err
		return err == nil && ok(status)
	})
}

// Await polls until ok, and fails the test when that takes too long. It is for
// what other processes do, which can only be asked for.
func Await(t testing.TB, what func() string, ok func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), arrivesWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			require.FailNow(t, "waited too long for "+what())
		case <-tick.C:
		}
	}
}

// Answer is what the public API said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// MustPost posts a body to the public API and requires an answer.
func (s *System) MustPost(path string, header map[string]string, body string) *Answer {
	s.t.Helper()
	answer, err := Post(s.t.Context(), s.PublicURL()+path, header, []byte(body))
	require.NoError(s.t, err)
	return answer
}

// Post posts a body.
func Post(ctx context.Context, url string, header map[string]string, body []byte) (*Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: answer}, nil
}

// LineStatuses are the statuses of a batch's answer, line by line.
func LineStatuses(t testing.TB, ndjson []byte) []int {
	t.Helper()
	var statuses []int
	for line := range bytes.Lines(bytes.TrimSpace(ndjson)) {
		var l struct{ Status int }
		require.NoError(t, json.Unmarshal(line, &l))
		statuses = append(statuses, l.Status)
	}
	return statuses
}

// AwaitSettled waits until nothing but this many parked bot messages waits.
func (s *System) AwaitSettled(parked uint64) {
	s.t.Helper()
	s.AwaitStatus("all but the parked messages to be settled", func(status *ops.Status) bool {
		user, bot := status.Stages[0], status.Stages[1]
		return user.Waiting+user.Parked.Messages+bot.Waiting == 0 && bot.Parked.Messages == parked
	})
}

// CountDeadLetters is how many dead letters there are.
func (s *System) CountDeadLetters() uint64 {
	s.t.Helper()
	status, err := s.Status(s.t.Context())
	require.NoError(s.t, err)
	return status.Dead.Messages
}
