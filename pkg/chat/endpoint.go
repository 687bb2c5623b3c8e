package chat

import (
	"slices"
	"time"
)

// Endpoint is a customer's URL for a channel's bot messages.
type Endpoint struct {
	ID          string `json:"id"`
	ChannelID   string `json:"channelId"`
	URL         string `json:"url"`
	VerifyToken Secret `json:"verifyToken,omitempty"`
	Sending
	// Events are the events that the endpoint wants; empty means "message".
	Events []string `json:"events,omitempty"`
	// Retry is the delays between attempts; empty means the default schedule.
	Retry []Duration `json:"retry,omitempty"`
	// Timeout bounds one attempt; 0 means 15 s.
	Timeout Duration `json:"timeout,omitempty"`
	// ExpireAfter is how long after its creation a message is worth sending;
	// 0 means for ever.
	ExpireAfter Duration `json:"expireAfter,omitempty"`
	// Supersede drops a message that still waits when a later user message of its
	// conversation has been processed, answered or not.
	Supersede bool `json:"supersede,omitempty"`
	// OnExhausted is "skip" (the default: the message becomes a dead letter
	// and the lane goes on) or "hold" (the lane waits for an operator).
	OnExhausted string `json:"onExhausted,omitempty"`
	// MaxInFlight is how many POSTs may be under way at once; 0 means the
	// default.
	MaxInFlight int `json:"maxInFlight,omitempty"`
	// RateLimit bounds the POSTs of all workers; nil means no bound.
	RateLimit *Rate `json:"rateLimit,omitempty"`
	// DisableAfter is for how long it may do nothing but fail before it is
	// disabled; 0 means the service's time, below 0 never.
	DisableAfter Duration `json:"disableAfter,omitempty"`
	// EnabledAt is when it was made, last enabled or resumed, or given another
	// URL: failures before say nothing of it now. The registry sets it.
	EnabledAt time.Time `json:"enabledAt,omitzero"`
	// Disabled is why the endpoint gets nothing; empty when it is enabled.
	Disabled string `json:"disabled,omitempty"`
	// Paused is why an operator wants it to get nothing for now, which is apart
	// from whether it is disabled; empty when it is not paused.
	Paused string `json:"paused,omitempty"`
	// ManagedBy is described at Channel.
	ManagedBy string `json:"managedBy,omitempty"`
}

// Wants reports whether the endpoint's filter lets an event through.
func (e *Endpoint) Wants(event string) bool {
	if len(e.Events) == 0 {
		return event == EventMessage
	}
	return slices.Contains(e.Events, event)
}

// Closed is why the endpoint gets nothing now; empty when it does.
func (e *Endpoint) Closed() string {
	if e.Disabled != "" {
		return e.Disabled
	}
	return e.Paused
}
