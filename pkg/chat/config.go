package chat

import (
	"encoding/json"
	"fmt"
	"time"
)

// Channel is one registered webhook channel.
type Channel struct {
	ID    string `json:"id"`
	BotID string `json:"botId"`
	Name  string `json:"name,omitempty"`
	// Limit and ConversationLimit are the rates at which ingest takes the
	// channel's messages, and those of each of its conversations; nil: the
	// service's.
	Limit             *Rate `json:"limit,omitempty"`
	ConversationLimit *Rate `json:"conversationLimit,omitempty"`
	// Paused is why the bot gets nothing of it for now; empty when it does.
	Paused string `json:"paused,omitempty"`
	// ManagedBy is the owner of the file that declares it; empty where it was made
	// by hand. A write that leaves it empty keeps it.
	ManagedBy string `json:"managedBy,omitempty"`
}

// Bot is a registered bot.
type Bot struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // echo, flow, http
	// Flow is the YAML of a flow bot.
	Flow string `json:"flow,omitempty"`
	Name string `json:"name,omitempty"`
	// Paused is why it is given nothing for now; empty when it is.
	Paused string `json:"paused,omitempty"`
	// ManagedBy is described at Channel.
	ManagedBy string `json:"managedBy,omitempty"`

	// What follows is of an http bot alone. URL is where turns are posted to.
	URL string `json:"url,omitempty"`
	Sending
	// Retry is the delays between attempts; empty means the default schedule.
	Retry []Duration `json:"retry,omitempty"`
	// Timeout bounds one attempt; 0 means 15 s.
	Timeout Duration `json:"timeout,omitempty"`
	// MaxInFlight is how many turns may be under way at once; 0 means the
	// default.
	MaxInFlight int `json:"maxInFlight,omitempty"`
	// Fallback is the text that is sent where all attempts at a turn failed;
	// empty makes a dead letter of it.
	Fallback string `json:"fallback,omitempty"`
}

// Token is an access token as it is stored: its hash and what it opens.
type Token struct {
	ID string `json:"id"`
	// Hash is the SHA-256 of the token's secret part, hexadecimal.
	Hash string `json:"hash"`
	// ChannelID is the channel that it opens; empty for an ops token.
	ChannelID string    `json:"channelId,omitempty"`
	Ops       bool      `json:"ops,omitempty"`
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	// Limit is the rate at which ingest takes messages with it; nil: the
	// service's.
	Limit *Rate `json:"limit,omitempty"`
	// ManagedBy is described at Channel.
	ManagedBy string `json:"managedBy,omitempty"`
}

// Secret is a string that prints, logs and marshals as "[redacted]"; who needs
// it calls Reveal.
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// MarshalJSON returns "[redacted]" as JSON, or "" for an empty secret.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s == "" {
		return []byte(`""`), nil
	}
	return []byte(`"` + redacted + `"`), nil
}

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Duration is a time.Duration that reads and writes as "1m30s" in JSON and
// YAML.
type Duration time.Duration

// Std returns the time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads what MarshalJSON writes: a string such as "90s".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`a duration is a string such as "90s"`)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is no duration: write it like "90s" or "1h30m"`, s)
	}
	*d = Duration(v)
	return nil
}
