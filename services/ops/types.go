package ops

import (
	"encoding/json"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/lane"
	"github.com/parleyhq/parley/pkg/partition"
	"github.com/parleyhq/parley/pkg/topology"
)

// Channel is a channel as the API reads and writes it. Revision is ignored in
// requests; it comes back so that an object read can be put again.
type Channel struct {
	ID    string `json:"id"`
	BotID string `json:"botId"`
	Name  string `json:"name,omitempty"`
	// Rates such as "100/s:200", or "off"; empty: the service's.
	Limit             string `json:"limit,omitempty"`
	ConversationLimit string `json:"conversationLimit,omitempty"`
	Paused            string `json:"paused,omitempty"`
	// ManagedBy is the owner of the file that declares it (apply), which requests
	// don't change; so with the other objects.
	ManagedBy string `json:"managedBy,omitempty"`
	Revision  uint64 `json:"revision,omitempty"`
}

// Redacted stands where a secret is set and not shown.
const Redacted = "[redacted]"

// Sending is what an endpoint or an http bot is signed, proved and connected to
// with, as the API reads and writes it. In a PUT, a secret that is left out, or
// given as "[redacted]", stays as it is; but a header that is left out goes.
type Sending struct {
	Secrets []string          `json:"secrets,omitempty"`
	V1A     bool              `json:"v1a,omitempty"` // sign with ed25519 too
	Headers map[string]string `json:"headers,omitempty"`
	Auth    *Auth             `json:"auth,omitempty"`
	TLS     *TLS              `json:"tls,omitempty"`
	// What follows is ignored in requests.
	PublicKey string     `json:"publicKey,omitempty"` // whpk_…, with V1A
	Retiring  []Retiring `json:"retiring,omitempty"`
}

// Endpoint is an endpoint as the API reads and writes it.
type Endpoint struct {
	ID          string  `json:"id,omitempty"`
	ChannelID   string  `json:"channelId,omitempty"`
	URL         string  `json:"url"`
	VerifyToken *string `json:"verifyToken,omitempty"`
	Sending
	Events      []string `json:"events,omitempty"`
	Retry       []string `json:"retry,omitempty"` // durations such as "90s"
	Timeout     string   `json:"timeout,omitempty"`
	ExpireAfter string   `json:"expireAfter,omitempty"`
	Supersede   bool     `json:"supersede,omitempty"`
	OnExhausted string   `json:"onExhausted,omitempty"`
	MaxInFlight int      `json:"maxInFlight,omitempty"`
	RateLimit   string   `json:"rateLimit,omitempty"` // such as "10/s:20"
	// DisableAfter is for how long it may do nothing but fail, or "off"; empty:
	// the delivery workers' time.
	DisableAfter string `json:"disableAfter,omitempty"`
	Disabled     string `json:"disabled,omitempty"`
	Paused       string `json:"paused,omitempty"`
	// What follows is ignored in requests.
	Health    *Circuit `json:"health,omitempty"`
	ManagedBy string   `json:"managedBy,omitempty"`
	Revision  uint64   `json:"revision,omitempty"`
}

// Circuit is how a destination does, as all workers know. But for the state all
// is left out that is not known.
type Circuit struct {
	Stage        chat.Stage `json:"stage,omitempty"` // in a status
	Destination  string     `json:"destination,omitempty"`
	State        string     `json:"state"` // closed, open or half-open
	Since        *time.Time `json:"since,omitempty"`
	Failures     int        `json:"failures,omitempty"` // in a row
	FailingSince *time.Time `json:"failingSince,omitempty"`
	NextProbe    *time.Time `json:"nextProbeAt,omitempty"`
	LastSuccess  *time.Time `json:"lastSuccessAt,omitempty"`
	LastFailure  *time.Time `json:"lastFailureAt,omitempty"`
	Warned       *time.Time `json:"warnedAt,omitempty"` // that it will be disabled
}

// Auth is how Parley proves itself beside the signature; the fields are those of
// chat.Auth.
type Auth struct {
	Kind         string   `json:"kind"`
	Username     string   `json:"username,omitempty"`
	Password     string   `json:"password,omitempty"`
	Token        string   `json:"token,omitempty"`
	TokenURL     string   `json:"tokenUrl,omitempty"`
	ClientID     string   `json:"clientId,omitempty"`
	ClientSecret string   `json:"clientSecret,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	Audience     string   `json:"audience,omitempty"`
	InBody       bool     `json:"inBody,omitempty"`
}

// TLS is an endpoint's or a bot's own TLS settings, in PEM.
type TLS struct {
	ClientCert string `json:"clientCert,omitempty"`
	ClientKey  string `json:"clientKey,omitempty"`
	CA         string `json:"ca,omitempty"`
}

// Retiring is a former signing secret or key that still signs.
type Retiring struct {
	Version   string    `json:"version"`             // v1 or v1a
	PublicKey string    `json:"publicKey,omitempty"` // of v1a
	Until     time.Time `json:"until"`
}

// RotateSecret asks for a new signing secret.
type RotateSecret struct {
	// Overlap is how long the former ones still sign; left out: 24h, "0s":
	// not at all.
	Overlap string `json:"overlap,omitempty"`
}

// TestResult is what became of a test message.
type TestResult struct {
	MessageID  string `json:"messageId"`
	Delivered  bool   `json:"delivered"`
	Status     int    `json:"status,omitempty"`
	DurationMS int64  `json:"durationMs"`
	Error      string `json:"error,omitempty"`
	Excerpt    string `json:"excerpt,omitempty"`
}

// Bot is a bot as the API reads and writes it; lists leave the flow out. From URL
// to Fallback all is of http bots.
type Bot struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	Flow   string `json:"flow,omitempty"`
	Paused string `json:"paused,omitempty"`
	URL    string `json:"url,omitempty"`
	Sending
	Retry       []string `json:"retry,omitempty"` // durations such as "90s"
	Timeout     string   `json:"timeout,omitempty"`
	MaxInFlight int      `json:"maxInFlight,omitempty"`
	Fallback    string   `json:"fallback,omitempty"`
	ManagedBy   string   `json:"managedBy,omitempty"`
	Revision    uint64   `json:"revision,omitempty"`
}

// Token is an access token's record. Token, its clear form, is in the answer
// that made it and nowhere else.
type Token struct {
	ID        string    `json:"id"`
	Token     string    `json:"token,omitempty"`
	ChannelID string    `json:"channelId,omitempty"`
	Ops       bool      `json:"ops,omitempty"`
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	Limit     string    `json:"limit,omitempty"`
	ManagedBy string    `json:"managedBy,omitempty"`
	Revision  uint64    `json:"revision"`
}

// NewToken asks for an access token: for a channel, or for ops.
type NewToken struct {
	ChannelID string `json:"channelId,omitempty"`
	Ops       bool   `json:"ops,omitempty"`
	Name      string `json:"name,omitempty"`
	Limit     string `json:"limit,omitempty"` // a rate; empty: the service's
}

// List is a list of objects at a revision of the configuration.
type List[T any] struct {
	Items    []T    `json:"items"`
	Revision uint64 `json:"revision"`
}

// Deleted says what was deleted, and the revision that shows it.
type Deleted struct {
	ID       string `json:"id"`
	Revision uint64 `json:"revision"`
}

// Reason says why something is disabled or paused.
type Reason struct {
	Reason string `json:"reason,omitempty"`
}

// Status is the state of the pipeline.
type Status struct {
	topology.Status
	Owners []*partition.Owners `json:"owners"` // by stage
	// Waiting is, by stage, what waits longest: by channel for its bot, by
	// endpoint to be delivered.
	Waiting []*lane.Report `json:"waiting"`
	// Circuits are those that aren't closed, 100 at most, the longest failing first.
	Circuits []Circuit `json:"circuits"`
	Config   Config    `json:"config"`
	Health   []Health  `json:"health"`
}

// Config is how much is configured.
type Config struct {
	Revision          uint64 `json:"revision"`
	Channels          int    `json:"channels"`
	Endpoints         int    `json:"endpoints"`
	DisabledEndpoints int    `json:"disabledEndpoints"`
	PausedEndpoints   int    `json:"pausedEndpoints"`
	PausedChannels    int    `json:"pausedChannels"`
	PausedBots        int    `json:"pausedBots"`
	Bots              int    `json:"bots"`
	Tokens            int    `json:"tokens"`
}

// Health is how a part of the pipeline does; Error is empty when it does well.
type Health struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// DeadLetterFilter chooses dead letters, in a query or a body; what is left out
// lets every value through. Endpoint, Bot and Destination are one and the same;
// the first two say which stage it is.
type DeadLetterFilter struct {
	Stage        chat.Stage `json:"stage,omitempty"`
	Channel      string     `json:"channel,omitempty"`
	Endpoint     string     `json:"endpoint,omitempty"`
	Bot          string     `json:"bot,omitempty"`
	Destination  string     `json:"destination,omitempty"`
	Conversation string     `json:"conversation,omitempty"` // of Channel
	Reason       string     `json:"reason,omitempty"`
	Status       int        `json:"status,omitempty"` // HTTP status of the last attempt
	// Since and Until are times by RFC 3339, or durations back such as "1h".
	Since string `json:"since,omitempty"` // stored then or later
	Until string `json:"until,omitempty"` // stored earlier
}

// DeadLetterCount is how many dead letters a filter lets through.
type DeadLetterCount struct {
	Count uint64 `json:"count"`
}

// DeadLetterPage is a part of the list of dead letters, newest first. Next is
// what "before" takes for the part behind; empty at the end. With a filter of
// reason or status a part may be short, or empty, and have a Next.
type DeadLetterPage struct {
	Items []DeadLetter `json:"items"`
	Next  string       `json:"next,omitempty"`
	// Undecodable counts letters of this part that can't be read, and so are
	// left out.
	Undecodable int `json:"undecodable,omitempty"`
}

// DeadLetter is a message that the pipeline gave up on. What follows StoredAt is
// left out of lists.
type DeadLetter struct {
	MessageID      string     `json:"messageId"`
	Stage          chat.Stage `json:"stage"`
	ChannelID      string     `json:"channelId"`
	Destination    string     `json:"destination"`
	ConversationID string     `json:"conversationId"`
	MessageCounter uint64     `json:"messageCounter,omitempty"`
	Reason         string     `json:"reason"`
	Error          string     `json:"error,omitempty"`
	FirstFailureAt *time.Time `json:"firstFailureAt,omitempty"`
	DiedAt         time.Time  `json:"diedAt"`
	AttemptCount   int        `json:"attemptCount"`
	StoredAt       time.Time  `json:"storedAt"` // which Since and Until are of

	Attempts []Attempt         `json:"attempts,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Message  json.RawMessage   `json:"message,omitempty"`
	// Data is the message as it was stored, where that can't be decoded.
	Data []byte `json:"data,omitempty"`
}

// LanePage is a part of the list of parked lanes, by id. Next is what "after"
// takes for the part behind; empty at the end.
type LanePage struct {
	Items []Lane `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Lane is a parked lane: one conversation's messages that wait for the channel's
// bot (stage user) or for an endpoint (stage bot). Attempts, of its first
// message, are left out of lists.
type Lane struct {
	ID             string     `json:"id"`
	Stage          chat.Stage `json:"stage"`
	ChannelID      string     `json:"channelId,omitempty"`
	Destination    string     `json:"destination,omitempty"` // endpoint or bot
	ConversationID string     `json:"conversationId,omitempty"`
	MessageID      string     `json:"messageId,omitempty"` // of the first message
	Messages       uint64     `json:"messages"`
	OldestAt       *time.Time `json:"oldestWaitingAt,omitempty"`
	AttemptCount   int        `json:"attemptCount"`
	DueAt          *time.Time `json:"dueAt,omitempty"`
	Held           bool       `json:"held"`
	// Supersede says that the first message ends, as expired, once a later user
	// message has been processed.
	Supersede bool `json:"supersede,omitempty"`
	// Closed is why its destination gets nothing now.
	Closed    string     `json:"closed,omitempty"`
	LastError string     `json:"lastError,omitempty"`
	Asked     *LaneAsked `json:"asked,omitempty"`
	Attempts  []Attempt  `json:"attempts,omitempty"`
}

// LaneAsked is a command that the lane's owner has not carried out yet.
type LaneAsked struct {
	Action lane.Action `json:"action"`
	By     string      `json:"by"`
	At     time.Time   `json:"at"`
}

// LaneCommanded says what became of a command to lanes.
type LaneCommanded struct {
	Action lane.Action `json:"action"`
	Lanes  int         `json:"lanes"`  // that were told
	Done   int         `json:"done"`   // that have done it
	Queued int         `json:"queued"` // that will
	Busy   int         `json:"busy"`   // that have not done yet what they were told before
}

// Attempt is one try at a message.
type Attempt struct {
	At         time.Time `json:"at"`
	DurationMS int64     `json:"durationMs"`
	Status     int       `json:"status,omitempty"`
	Error      string    `json:"error,omitempty"`
	Excerpt    string    `json:"excerpt,omitempty"`
}
