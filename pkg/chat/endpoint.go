package chat

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Endpoint is a customer's URL for a channel's bot messages.
type Endpoint struct {
	ID          string   `json:"id"`
	ChannelID   string   `json:"channelId"`
	URL         string   `json:"url"`
	VerifyToken Secret   `json:"verifyToken,omitempty"`
	Secrets     []Secret `json:"secrets,omitempty"` // signing secrets, whsec_…; the first is the newest
	// SigningKey is the ed25519 key, whsk_…, that signs beside the secrets
	// (v1a); empty: none does.
	SigningKey Secret `json:"signingKey,omitempty"`
	// Retiring are former secrets and keys that still sign, for a time.
	Retiring []Retiring `json:"retiring,omitempty"`
	// Headers are fields of the operator's own, sent with each attempt. Their
	// values may be credentials and are treated as such.
	Headers map[string]Secret `json:"headers,omitempty"`
	// Auth is how Parley proves itself beside the signature; nil: not at all.
	Auth *Auth `json:"auth,omitempty"`
	// TLS is what differs from the common TLS settings; nil: nothing.
	TLS *TLS `json:"tls,omitempty"`
	// Events are the events that the endpoint wants; empty means "message".
	Events []string `json:"events,omitempty"`
	// Retry is the delays between attempts; empty means the default schedule.
	Retry []Duration `json:"retry,omitempty"`
	// Timeout bounds one attempt; 0 means 15 s.
	Timeout Duration `json:"timeout,omitempty"`
	// ExpireAfter is how long after its creation a message is worth sending;
	// 0 means for ever.
	ExpireAfter Duration `json:"expireAfter,omitempty"`
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

// Retiring is a former signing secret (whsec_…) or key (whsk_…).
type Retiring struct {
	Key Secret `json:"key"`
	// Until is when it signs no more.
	Until time.Time `json:"until"`
}

// Rotate puts a new signing secret, and where the endpoint has a signing key a
// new key, in the place of the present ones. These sign until a time; a zero
// time ends them, and those that were retiring before, at once.
func (e *Endpoint) Rotate(secret, key Secret, until time.Time) {
	former := slices.Clone(e.Secrets)
	if e.SigningKey != "" {
		former = append(former, e.SigningKey)
		e.SigningKey = key
	}
	e.Secrets = []Secret{secret}
	if until.IsZero() {
		e.Retiring = nil
		return
	}
	retiring := make([]Retiring, 0, len(former)+len(e.Retiring)) // a snapshot may share the present one
	for _, k := range former {
		retiring = append(retiring, Retiring{Key: k, Until: until})
	}
	e.Retiring = append(retiring, e.Retiring...)
}

// Prune drops the secrets and keys that sign no more at a time.
func (e *Endpoint) Prune(now time.Time) {
	e.Retiring = e.retiring(func(r Retiring) bool { return r.Until.After(now) })
}

// DropRetiring drops the retiring secrets or keys that begin with a prefix.
func (e *Endpoint) DropRetiring(prefix string) {
	e.Retiring = e.retiring(func(r Retiring) bool { return !strings.HasPrefix(r.Key.Reveal(), prefix) })
}

// retiring returns those that keep says, or nil.
func (e *Endpoint) retiring(keep func(Retiring) bool) (kept []Retiring) {
	for _, r := range e.Retiring {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// The prefixes that Standard Webhooks gives secrets and keys.
const (
	PrefixSecret     = "whsec_" // symmetric, v1
	PrefixSigningKey = "whsk_"  // ed25519, private, v1a
	PrefixPublicKey  = "whpk_"  // ed25519, public
)

// The kinds of authentication towards an endpoint.
const (
	AuthBasic  = "basic"  // RFC 7617
	AuthBearer = "bearer" // RFC 6750
	AuthOAuth2 = "oauth2" // RFC 6749, section 4.4: client credentials
)

// Auth is what the Authorization field is made of.
type Auth struct {
	Kind string `json:"kind"`

	Username string `json:"username,omitempty"` // basic
	Password Secret `json:"password,omitempty"` // basic
	Token    Secret `json:"token,omitempty"`    // bearer

	// The rest is of oauth2.
	TokenURL     string   `json:"tokenUrl,omitempty"`
	ClientID     string   `json:"clientId,omitempty"`
	ClientSecret Secret   `json:"clientSecret,omitempty"`
	Scopes       []string `json:"scopes,omitempty"`
	Audience     string   `json:"audience,omitempty"`
	// InBody sends the client's id and secret in the token request's body
	// instead of its Authorization field.
	InBody bool `json:"inBody,omitempty"`
}

// TLS is an endpoint's own TLS settings, all in PEM.
type TLS struct {
	// ClientCert is the client certificate, with the chain behind it.
	ClientCert string `json:"clientCert,omitempty"`
	ClientKey  Secret `json:"clientKey,omitempty"`
	// CA are the authorities that the endpoint's certificate, and that of its
	// token server, are checked against in place of the system's.
	CA string `json:"ca,omitempty"`
}

// Bounds of an endpoint's own header fields.
const (
	MaxHeaders     = 20
	MaxHeaderName  = 64   // bytes
	MaxHeaderValue = 1024 // bytes
)

// reserved are the fields that the contract, the transport or HTTP itself
// owns: those of a connection (RFC 9110, section 7.6.1), and those that change
// what is sent or what comes back.
var reserved = []string{
	"Accept-Encoding", "Connection", "Date", "Expect", "Host", "Http2-Settings", "Keep-Alive", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Traceparent", "Tracestate", "User-Agent",
	// With these net/http takes a POST for one that may be sent twice.
	"Idempotency-Key", "X-Idempotency-Key",
}

var reservedPrefixes = []string{"Webhook-", "Parley-", "Content-", "Proxy-"}

// CheckHeader reports why an endpoint can't have this field of its own; nil if
// it can. The error does not repeat the value.
func CheckHeader(name, value string) error {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case name == "" || len(name) > MaxHeaderName || strings.ContainsFunc(name, notInToken):
		return fmt.Errorf("a header name has 1 to %d letters, digits and hyphens: rename it", MaxHeaderName)
	case slices.Contains(reserved, canonical),
		slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
		return fmt.Errorf("the header %s is Parley's or the connection's own: leave it out", canonical)
	case value == "" || len(value) > MaxHeaderValue:
		return fmt.Errorf("the value has %d bytes: give it 1 to %d", len(value), MaxHeaderValue)
	case strings.Trim(value, " \t") != value || strings.ContainsFunc(value, notInFieldValue):
		return errors.New("the value must be printable ASCII without spaces at its ends")
	}
	return nil
}

// notInToken allows less than RFC 9110, section 5.6.2, does: a gateway may turn
// an underscore into a hyphen and so make a reserved name of it.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

func notInFieldValue(r rune) bool { return (r < ' ' || r > '~') && r != '\t' }
