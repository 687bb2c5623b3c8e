package compose

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/go-units"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// All of the compose file runs; the README's commands work on it; a NATS server
// and a worker of each stage go, and everything still arrives in order; they come
// back, and all ends cleanly.
func TestCompose(t *testing.T) {
	c := newComposition(t)
	c.up()
	c.requireStores()
	token := c.followReadme()
	c.loseSome(token)
	c.down()
}

// requireStores looks at what the stores make of their settings: nobody gets in
// without a password, each stream has three copies, and the store is as large as
// Parley needs.
func (c *composition) requireStores() {
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		for _, port := range []string{"4222", "6222"} {
			require.Contains(c.t, c.hello(name+":"+port, ""), `"auth_required":true`, "%s:%s", name, port)
		}
	}
	require.Contains(c.t, c.hello("redis:6379", "PING\r\n"), "NOAUTH")

	asked, err := units.RAMInBytes(*c.project.Services["ops"].Environment["PARLEY_STORE_MAX"])
	require.NoError(c.t, err)
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		stats := c.jetStream(name)
		require.GreaterOrEqual(c.t, stats.Config.MaxStorage, asked)
		reserved, streams := int64(0), 0
		for _, account := range stats.Accounts {
			for _, stream := range account.Streams {
				require.Equal(c.t, 3, stream.Config.Replicas, stream.Name)
				reserved += stream.Config.MaxBytes
				streams++
			}
		}
		require.Greater(c.t, streams, 20)
		require.LessOrEqual(c.t, reserved, stats.Config.MaxStorage/5*4, "the streams take too much of the store")
	}
}

// jetStreamStats is what a NATS server says of its JetStream.
type jetStreamStats struct {
	Config struct {
		MaxStorage int64 `json:"max_storage"`
	} `json:"config"`
	Accounts []struct {
		Streams []struct {
			Name   string `json:"name"`
			Config struct {
				Replicas int   `json:"num_replicas"`
				MaxBytes int64 `json:"max_bytes"`
			} `json:"config"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

func (c *composition) jetStream(name string) *jetStreamStats {
	c.t.Helper()
	body, err := c.ask(c.t.Context(), http.MethodGet, c.here("http://"+name+":8222/jsz?streams=true&config=true"), "", nil)
	require.NoError(c.t, err)
	var stats jetStreamStats
	require.NoError(c.t, json.Unmarshal(body, &stats))
	return &stats
}

// hello is the first line that a server says, after what it is told.
func (c *composition) hello(addr, tell string) string {
	c.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(c.t.Context(), "tcp", c.here(addr))
	require.NoError(c.t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(c.t, conn.SetDeadline(time.Now().Add(healthyWithin)))
	_, err = conn.Write([]byte(tell))
	require.NoError(c.t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(c.t, err)
	return line
}

// ask makes a request and returns the body of a good answer.
func (c *composition) ask(ctx context.Context, method, url, token string, body []byte, header ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s answered %s: %s", url, resp.Status, answer.String())
	}
	return answer.Bytes(), nil
}

// followReadme carries out what the README says about containers, in a directory
// with the files that it names, and returns the token that it made.
func (c *composition) followReadme() (token string) {
	dir := c.t.TempDir()
	for _, name := range []string{".env.example", "deploy/samples/pizza.yaml"} {
		text, err := os.ReadFile(path(name))
		require.NoError(c.t, err)
		require.NoError(c.t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(c.t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	send, containers := readmeCommands(c.t, "Send a message"), readmeCommands(c.t, "In containers")
	require.Len(c.t, send, 1)
	require.Len(c.t, containers, 3)

	said := c.shell(dir, containers[0], containers[1], send[0], `printf %s "$TOKEN" >token`)
	require.Regexp(c.t, `\{"messageId":"msg_\w+","conversationId":"ann"\}`, said)
	require.Eventually(c.t, func() bool {
		log := c.shell(dir, containers[2])
		return strings.Contains(log, "#1 bot < Welcome to Pizzeria Parley!") && strings.Contains(log, "* signature verified, conversation ann")
	}, arrivesWithin, poll, "the bot's answer in the customer's log")
	made, err := os.ReadFile(filepath.Join(dir, "token"))
	require.NoError(c.t, err)
	return string(made)
}

// readmeCommands are the commands of a section of the README, by block.
func readmeCommands(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile(path("README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	require.True(t, found, "the README has no section %q", section)
	rest, _, _ = strings.Cut(rest, "\n## ")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(rest, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// shell runs commands in one shell, with a docker that has these containers.
func (c *composition) shell(dir string, commands ...string) string {
	c.t.Helper()
	bin := c.t.TempDir()
	require.NoError(c.t, os.WriteFile(filepath.Join(bin, "docker"), []byte(c.docker()), 0o700))
	cmd := exec.CommandContext(c.t.Context(), "sh", "-euc", c.fromHost(strings.Join(commands, "\n")))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(c.t, cmd.Run(), "%s\n%s", out.String(), errs.String())
	return out.String()
}

// docker is a script for `docker compose` as the README uses it: everything is
// up already, commands run in a container's environment, logs are files.
func (c *composition) docker() string {
	ops, customer := c.containers["ops-1"], c.containers["customer-1"]
	env := append([]string{"PARLEY_OPS_URL=" + ops.here("http://127.0.0.1:8081")}, ops.env...)
	for i, pair := range env {
		env[i] = "'" + pair + "'"
	}
	return fmt.Sprintf(`#!/bin/sh -e
case "$*" in
"compose up --build --wait") ;;
"compose exec -T ops /parley "*) shift 5; exec env -i %s %s "$@" ;;
"compose logs customer") cat <<'END'
%s
END
;;
*) echo "docker: not expected: $*" >&2; exit 1 ;;
esac
`, strings.Join(env, " "), binaries.Parley, customer.Tail())
}

// What is said while some are lost.
const (
	conversations = 6
	each          = 15
	answers       = 2 // of the sample bot to one "hello"
)

// loseSome kills a NATS server and a worker of each stage while users talk, and
// requires that every answer arrives, in order.
func (c *composition) loseSome(token string) {
	var accepted atomic.Int64
	ctx, cancel := context.WithTimeout(c.t.Context(), arrivesWithin)
	defer cancel()
	talking, tctx := errgroup.WithContext(ctx)
	for i := range conversations {
		talking.Go(func() error {
			for n := range each {
				if err := c.say(tctx, token, conversation(i), n); err != nil {
					return err
				}
				accepted.Add(1)
			}
			return nil
		})
	}
	lost := []string{"nats-1-1", "bot-worker-1", "delivery-worker-2"}
	for i, name := range lost {
		part := int64((i + 1) * conversations * each / (len(lost) + 1))
		require.Eventually(c.t, func() bool { return accepted.Load() >= part || tctx.Err() != nil }, arrivesWithin, poll)
		c.containers[name].Kill()
	}
	require.NoError(c.t, talking.Wait())

	var got map[string][]int
	require.Eventually(c.t, func() bool {
		got = c.counters()
		for i := range conversations {
			if all := got[conversation(i)]; len(all) == 0 || all[len(all)-1] < each*answers {
				return false
			}
		}
		return true
	}, arrivesWithin, poll, "answers that have not arrived")
	for i := range conversations {
		c.requireInOrder(conversation(i), got[conversation(i)])
	}

	for _, name := range lost { // as `restart: unless-stopped` does
		c.containers[name].Start()
	}
	for _, one := range c.containers {
		one.awaitHealthy()
	}
}

func conversation(i int) string { return fmt.Sprintf("user-%d", i) }

// say posts a message until it is accepted: while the servers elect a leader it
// may not be.
func (c *composition) say(ctx context.Context, token, conversation string, n int) error {
	body := fmt.Appendf(nil, `{"conversationId": %q, "message": {"textMessage": {"text": "hello"}}}`, conversation)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		_, err := c.ask(ctx, http.MethodPost, c.fromHost("http://127.0.0.1:8080/v1/channels/webhook/demo/messages"), token, body,
			"Idempotency-Key", fmt.Sprintf("%s-%d", conversation, n))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: message %d: %w", conversation, n, err)
		case <-tick.C:
		}
	}
}

var delivered = regexp.MustCompile(`#(\d+) bot < .*\n(?: {13}[^*\n].*\n)* {13}\* signature verified, conversation (\S+?),?\s`)

// counters are those that the customer has printed, by conversation.
func (c *composition) counters() map[string][]int {
	all := map[string][]int{}
	for _, m := range delivered.FindAllStringSubmatch(c.containers["customer-1"].Tail()+"\n", -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(c.t, err)
		all[m[2]] = append(all[m[2]], n)
	}
	return all
}

// requireInOrder requires the counters 1, 2, 3, …; the last one before a kill may
// be there twice, as the process didn't live to record it.
func (c *composition) requireInOrder(conversation string, counters []int) {
	c.t.Helper()
	last := 0
	for _, n := range counters {
		if n != last {
			require.Equal(c.t, last+1, n, "%s got %v", conversation, counters)
		}
		last = n
	}
	require.Equal(c.t, each*answers, last, conversation)
}
