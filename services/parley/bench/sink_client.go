package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A drain ends when everything accepted has arrived, or when nothing has
// arrived for a while: what is missing then is lost.
const (
	drainPoll    = 20 * time.Millisecond
	drainStall   = 15 * time.Second
	retriedStall = 3 * time.Minute // where the sink makes errors: retries take their time
)

// sinkClient talks to the sink's process.
type sinkClient struct {
	base   string
	client *http.Client
	stall  time.Duration // of a drain
}

func (s *sinkClient) begin(ctx context.Context, round, conversations int) error {
	query := url.Values{"number": {strconv.Itoa(round)}, "conversations": {strconv.Itoa(conversations)}}
	_, err := s.ask(ctx, http.MethodPost, "/round?"+query.Encode())
	return err
}

func (s *sinkClient) stats(ctx context.Context) (stats SinkStats, err error) {
	body, err := s.ask(ctx, http.MethodGet, "/stats")
	if err != nil {
		return stats, err
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return stats, fmt.Errorf("the sink's figures: %w", err)
	}
	return stats, nil
}

func (s *sinkClient) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("the sink: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the sink answered %s: %s", resp.Status, body)
	}
	return body, nil
}

// drain waits until as many have arrived as were accepted, or nothing comes
// any more.
func (s *sinkClient) drain(ctx context.Context, accepted int, alive func() error) (SinkStats, error) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	last, lastAt := -1, time.Now()
	for {
		stats, err := s.stats(ctx)
		if err != nil {
			return stats, errors.Join(err, alive())
		}
		if arrived := stats.Unique + stats.Duplicates; arrived != last {
			last, lastAt = arrived, time.Now()
		}
		if stats.Unique >= accepted || time.Since(lastAt) > drainStall {
			return stats, nil
		}
		select {
		case <-ctx.Done():
			return stats, context.Cause(ctx)
		case <-tick.C:
		}
		if err := alive(); err != nil {
			return stats, err
		}
	}
}

// await waits until so many have arrived.
func (s *sinkClient) await(ctx context.Context, n int, alive func() error) (SinkStats, error) {
	stats, err := s.drain(ctx, n, alive)
	if err == nil && stats.Unique < n {
		err = fmt.Errorf("only %d of %d messages arrived, and none for %s", stats.Unique, n, s.stall)
	}
	return stats, err
}
