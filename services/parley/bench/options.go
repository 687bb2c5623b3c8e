package bench

import (
	"errors"
	"fmt"
	"time"
)

// Setup says what the processes are that are measured.
type Setup struct {
	Binary     string        // the parley binary, for the child processes
	Version    string        // of the binary, for the report
	Body       int           // of a user message's request, in bytes
	Sync       string        // `serve --sync`: "always" or an interval
	Journal    string        // `serve --journal`
	RedisURL   string        // `serve --redis-url`; empty: without
	Redis      bool          // start a redis-server for the run
	Bot        string        // kind of the bot
	SinkDelay  time.Duration // that the sink takes for an answer
	SinkErrors float64       // share of the requests that the sink answers 500
}

// Options say what to measure.
type Options struct {
	Setup
	Connections   int           // requests under way at once
	Conversations int           // in a round; at least as many as connections
	Messages      int           // in a round; 0: as many as the duration allows
	Duration      time.Duration // of a round's sending; 0 only with Messages
	Rounds        int           // of each kind
	Rate          int           // messages a second, each sent when it is due; 0: closed loop
	Batch         int           // messages of a request, as NDJSON; 0: one, as JSON
	Paused        bool          // without workers: accepting alone
}

// The bounds of a run, so that a slip of the keyboard doesn't fill a disk.
const (
	maxConnections   = 4096
	maxConversations = 2_000_000
	maxMessages      = 20_000_000
	maxDuration      = time.Hour
	maxRounds        = 100
	minBodySize      = 200
	maxBodySize      = 64 << 10
	maxRate          = 1_000_000
	maxSinkDelay     = time.Minute
	maxSinkErrors    = 0.9

	// What ingest takes: messages of a batch, and batches under way at once.
	maxBatch            = 1000
	maxBatchConnections = 16
)

// Validate reports the first option that can't work.
func (s Setup) Validate() error {
	switch {
	case s.Body < minBodySize || s.Body > maxBodySize:
		return fmt.Errorf("--body is %d bytes: set it to %d..%d", s.Body, minBodySize, maxBodySize)
	case s.Redis && s.RedisURL != "":
		return errors.New("--redis and --redis-url are both set: one starts a Redis, the other uses one that is there")
	case s.Bot != "echo" && s.Bot != "flow":
		return fmt.Errorf("--bot is %q: set it to echo or flow", s.Bot)
	case s.Journal != "all" && s.Journal != "failures" && s.Journal != "off":
		return fmt.Errorf("--journal is %q: set it to all, failures or off", s.Journal)
	case s.SinkDelay < 0 || s.SinkDelay > maxSinkDelay:
		return fmt.Errorf("--sink-delay is %s: set it to 0..%s", s.SinkDelay, maxSinkDelay)
	case s.SinkErrors < 0 || s.SinkErrors > maxSinkErrors:
		return fmt.Errorf("--sink-errors is %g: set it to 0..%g", s.SinkErrors, maxSinkErrors)
	}
	return nil
}

// Validate reports the first option that can't work.
func (o Options) Validate() error {
	switch {
	case o.Connections < 1 || o.Connections > maxConnections:
		return fmt.Errorf("--connections is %d: set it to 1..%d", o.Connections, maxConnections)
	case o.Conversations < o.Connections || o.Conversations > maxConversations:
		return fmt.Errorf("--conversations is %d: set it to at least --connections (%d), so that each conversation's messages are sent in order, and at most %d",
			o.Conversations, o.Connections, maxConversations)
	case o.Messages < 0 || o.Messages > maxMessages:
		return fmt.Errorf("--messages is %d: set it to 1..%d, or to 0 to go by --duration", o.Messages, maxMessages)
	case o.Duration < 0 || o.Duration > maxDuration:
		return fmt.Errorf("--duration is %s: set it to at most %s", o.Duration, maxDuration)
	case o.Messages == 0 && o.Duration == 0:
		return errors.New("--messages and --duration are both 0: one must bound a round")
	case o.Rounds < 1 || o.Rounds > maxRounds:
		return fmt.Errorf("--rounds is %d: set it to 1..%d", o.Rounds, maxRounds)
	case o.Rate < 0 || o.Rate > maxRate:
		return fmt.Errorf("--rate is %d: set it to 1..%d messages a second, or to 0 for a closed loop", o.Rate, maxRate)
	case o.Batch < 0 || o.Batch > maxBatch:
		return fmt.Errorf("--batch is %d: set it to 1..%d, or to 0 to send messages one by one", o.Batch, maxBatch)
	case o.Batch > 0 && o.Rate > 0:
		return errors.New("--batch and --rate are both set: batches are sent in a closed loop")
	case o.Batch > 0 && o.Connections > maxBatchConnections:
		return fmt.Errorf("--connections is %d: with --batch set it to at most %d, the batches that ingest takes at once", o.Connections, maxBatchConnections)
	}
	return o.Setup.Validate()
}

// kinds are what a run's rounds are of. Without deliveries, and for batches,
// which a relay doesn't know, there is nothing to compare with.
func (o Options) kinds() []string {
	if o.Paused || o.Batch > 0 {
		return []string{KindPipeline}
	}
	return []string{KindRelay, KindPipeline}
}

// SetupReport is what figures depend on, of a Setup.
type SetupReport struct {
	Body       int     `json:"bodyBytes"`
	Sync       string  `json:"sync,omitempty"`
	Journal    string  `json:"journal,omitempty"`
	Redis      string  `json:"redis"` // none, its own, or given: then its CPU and memory aren't counted
	Bot        string  `json:"bot"`
	SinkDelay  string  `json:"sinkDelay,omitempty"`
	SinkErrors float64 `json:"sinkErrors,omitempty"`
}

func (s Setup) report() SetupReport {
	r := SetupReport{Body: s.Body, Sync: s.Sync, Journal: s.Journal, Redis: "none", Bot: s.Bot, SinkErrors: s.SinkErrors}
	switch {
	case s.Redis:
		r.Redis = "its own"
	case s.RedisURL != "":
		r.Redis = "given"
	}
	if s.SinkDelay > 0 {
		r.SinkDelay = s.SinkDelay.String()
	}
	return r
}

// line says in words what a table's figures depend on.
func (r SetupReport) line() string {
	line := fmt.Sprintf("%s bot, bodies of %d bytes, sync %s, journal %s, redis: %s", r.Bot, r.Body, r.Sync, r.Journal, r.Redis)
	if r.SinkDelay != "" {
		line += ", the sink takes " + r.SinkDelay + " an answer"
	}
	if r.SinkErrors > 0 {
		line += fmt.Sprintf(", and answers %g of the requests with 500", r.SinkErrors)
	}
	return line
}
