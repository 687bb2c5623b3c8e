package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/parleyhq/parley/services/parley/ready"
)

// benchID names the benchmark's bot and channel.
const benchID = "bench"

// pipeline is a running `parley serve` with a channel whose endpoint is the
// sink.
type pipeline struct {
	target, token string
}

// configure registers the bot, the channel, the endpoint and a token through
// the ops API.
func configure(ctx context.Context, client *http.Client, at ready.File, botKind, sinkURL string, maxInFlight int) (*pipeline, error) {
	ops := opsAPI{client: client, base: strings.TrimRight(at.AdminURL, "/") + "/ops/v1", token: at.OpsToken}
	steps := []struct {
		path string
		body map[string]any
	}{
		{"/bots", map[string]any{"id": benchID, "kind": botKind}},
		{"/channels", map[string]any{"id": benchID, "botId": benchID}},
		{"/channels/" + benchID + "/endpoints", map[string]any{"url": sinkURL, "verifyToken": "benchmark", "maxInFlight": maxInFlight}},
	}
	for _, s := range steps {
		if err := ops.post(ctx, s.path, s.body, nil); err != nil {
			return nil, err
		}
	}
	var made struct {
		Token string `json:"token"`
	}
	if err := ops.post(ctx, "/tokens", map[string]any{"channelId": benchID}, &made); err != nil {
		return nil, err
	}
	return &pipeline{
		target: strings.TrimRight(at.PublicURL, "/") + "/v1/channels/webhook/" + url.PathEscape(benchID) + "/messages",
		token:  made.Token,
	}, nil
}

// opsAPI is as much of the ops API as the benchmark needs.
type opsAPI struct {
	client      *http.Client
	base, token string
}

func (o opsAPI) post(ctx context.Context, path string, body, answer any) error {
	return o.do(ctx, http.MethodPost, path, body, answer)
}

func (o opsAPI) do(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ops API %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("ops API %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+o.token)
	resp, err := o.client.Do(req)
	if err != nil {
		return fmt.Errorf("ops API %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("ops API %s: reading the answer: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("ops API %s answered %s: %s", path, resp.Status, strings.TrimSpace(string(got[:min(len(got), 1000)])))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("ops API %s: %w", path, err)
	}
	return nil
}
