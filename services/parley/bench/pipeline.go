package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/parleyhq/parley/services/parley/ready"
)

// benchID names the benchmark's bot, channel and endpoint.
const benchID = "bench"

// flowBot says back what it is told, as the echo bot does, by way of an intent
// and a template.
const flowBot = `bot: Bench
intro: welcome
not_understood: welcome
intents:
  message:
    patterns: ['` + markerPrefix + `']
    goto: say
dialogs:
  welcome: [Hello]
  say: ["{{ input.text }}"]
`

// pipeline is where a running Parley takes messages and its operator's wishes.
type pipeline struct {
	url, token string // of the channel's messages
	ops        opsAPI
}

func pipelineAt(client *http.Client, at ready.File) pipeline {
	return pipeline{url: channelURL(at, benchID), ops: opsAPI{client: client, base: at.AdminURL + "/ops/v1", token: at.OpsToken}}
}

// configure registers the bot, the channel and the endpoint, and returns a
// token for the channel.
func (p pipeline) configure(ctx context.Context, botKind, sinkURL string, maxInFlight int) (token string, err error) {
	bot := map[string]any{"id": benchID, "kind": botKind}
	if botKind == "flow" {
		bot["flow"] = flowBot
	}
	if err := p.ops.post(ctx, "/bots", bot, nil); err != nil {
		return "", err
	}
	return p.addChannel(ctx, benchID, sinkURL, maxInFlight)
}

// addChannel registers a channel of the bot with an endpoint of its name, and
// returns a token for it.
func (p pipeline) addChannel(ctx context.Context, id, sinkURL string, maxInFlight int) (token string, err error) {
	if err := p.ops.post(ctx, "/channels", map[string]any{"id": id, "botId": benchID}, nil); err != nil {
		return "", err
	}
	endpoint := map[string]any{"id": id, "url": sinkURL, "verifyToken": "benchmark", "maxInFlight": maxInFlight}
	if err := p.ops.post(ctx, "/channels/"+id+"/endpoints", endpoint, nil); err != nil {
		return "", err
	}
	var made struct {
		Token string `json:"token"`
	}
	err = p.ops.post(ctx, "/tokens", map[string]any{"channelId": id}, &made)
	return made.Token, err
}

// disable stops deliveries; enable lets them go on.
func (p pipeline) disable(ctx context.Context) error {
	return p.ops.post(ctx, "/endpoints/"+benchID+"/disable", map[string]any{"reason": "benchmark"}, nil)
}

func (p pipeline) enable(ctx context.Context) error {
	return p.ops.post(ctx, "/endpoints/"+benchID+"/enable", map[string]any{}, nil)
}

// waiting is how many messages stand in front of a stage, without and with
// those that are parked.
type waiting struct {
	Stage   string `json:"stage"`
	Waiting int    `json:"waiting"`
	Parked  struct {
		Messages int `json:"messages"`
	} `json:"parked"`
}

// status asks what waits, by stage: user, then bot.
func (p pipeline) status(ctx context.Context) (user, bot waiting, err error) {
	var s struct {
		Stages []waiting `json:"stages"`
	}
	if err := p.ops.do(ctx, http.MethodGet, "/status", nil, &s); err != nil {
		return user, bot, err
	}
	if len(s.Stages) != 2 {
		return user, bot, fmt.Errorf("ops API /status has %d stages, not 2", len(s.Stages))
	}
	return s.Stages[0], s.Stages[1], nil
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
