package ops

import (
	"crypto/sha256"
	"fmt"

	"github.com/parleyhq/parley/pkg/chat"
)

// What the audit keeps of each answer: the object as the API shows it, without
// the secrets that an answer shows once.

func (ch Channel) audited() (string, any) { return ch.ID, ch }

func (e Endpoint) audited() (string, any) {
	e.Sending = e.concealed()
	return e.ID, e
}

func (b Bot) audited() (string, any) {
	b.Sending = b.concealed()
	b.Flow = digest(b.Flow)
	return b.ID, b
}

func (t Token) audited() (string, any) {
	t.Token = ""
	return t.ID, t
}

func (d Deleted) audited() (string, any) { return d.ID, d }

func (done LaneCommanded) audited() (string, any) { return "", done }

func (r TestResult) audited() (string, any) {
	r.Excerpt = "" // the endpoint's words, not the operator's
	return "", r
}

// audited says what is replayed or discarded; the job, how far that has come. A
// conversation is named by its hash: the audit outlasts it.
func (j ReplayJob) audited() (string, any) {
	if c := &j.Filter; c.Conversation != "" {
		c.Conversation = chat.KeyOf(c.Channel, c.Conversation).String()
	}
	if d := j.Delivered; d != nil && d.Conversation != "" {
		hidden := *d
		hidden.Conversation = chat.KeyOf(d.Channel, d.Conversation).String()
		j.Delivered = &hidden
	}
	return j.ID, j
}

// audited says that nothing was changed.
func (p ReplayPreview) audited() (string, any) {
	return "", map[string]any{"dryRun": true, "total": p.Total}
}

// concealed is what sendingOf shows once the secrets are made.
func (s Sending) concealed() Sending {
	shown := make([]string, len(s.Secrets))
	for i := range shown {
		shown[i] = Redacted
	}
	s.Secrets = shown
	if t := s.TLS; t != nil {
		s.TLS = &TLS{ClientCert: digest(t.ClientCert), ClientKey: t.ClientKey, CA: digest(t.CA)}
	}
	return s
}

// digest stands for a long text, and tells whether another is the same.
func digest(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("sha256:%x (%d bytes)", sha256.Sum256([]byte(text)), len(text))
}
