package deadletter

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

// Filter chooses dead letters; an empty field lets every value through. What
// stands in a letter's subject (stage, channel, destination, conversation) and
// the times are looked up; reason and status are in the letters, which have to
// be read for them.
type Filter struct {
	Stage       chat.Stage
	ChannelID   string
	Destination string // endpoint or bot
	// ConversationID needs its ChannelID: a conversation is one of a channel.
	ConversationID string
	Reason         string
	Status         int       // HTTP status of the last attempt
	After          time.Time // stored then or later
	Before         time.Time // stored earlier
}

// Matches reports whether a letter is let through. Of one that can't be decoded
// neither reason nor status is known: a filter of these doesn't match it.
func (f Filter) Matches(l *Letter) bool {
	switch {
	case f.Stage != "" && f.Stage != l.Stage,
		f.ChannelID != "" && f.ChannelID != l.ChannelID,
		f.Destination != "" && f.Destination != l.Destination,
		!f.After.IsZero() && l.StoredAt.Before(f.After),
		!f.Before.IsZero() && !l.StoredAt.Before(f.Before):
		return false
	}
	if l.Undecodable != nil {
		return !f.ofContent() && (f.ConversationID == "" || chat.KeyOf(f.ChannelID, f.ConversationID) == l.key)
	}
	return (f.ConversationID == "" || f.ConversationID == l.ConversationID) &&
		(f.Reason == "" || f.Reason == l.Reason) && (f.Status == 0 || f.Status == lastStatus(l))
}

func lastStatus(l *Letter) int {
	if len(l.Attempts) == 0 {
		return 0
	}
	return l.Attempts[len(l.Attempts)-1].Status
}

// ofContent reports whether letters have to be read to know which match.
func (f Filter) ofContent() bool { return f.Reason != "" || f.Status != 0 }

// subject is empty where every subject matches: a reader without a filter costs
// the broker nothing. It refuses what would be taken for a wildcard.
func (f Filter) subject() (string, error) {
	for _, part := range []string{string(f.Stage), f.ChannelID, f.Destination} {
		if !isToken(part) {
			return "", fmt.Errorf("filtering dead letters: %q is no id", part)
		}
	}
	switch {
	case f.ConversationID != "" && f.ChannelID == "":
		return "", errors.New("filtering dead letters: a conversation is one of a channel: give its channel too")
	case f.ConversationID != "":
		return topology.DeadConversationFilter(f.Stage, f.ChannelID, f.Destination, chat.KeyOf(f.ChannelID, f.ConversationID)), nil
	case f.Stage == "" && f.ChannelID == "" && f.Destination == "":
		return "", nil
	}
	return topology.DeadFilter(f.Stage, f.ChannelID, f.Destination), nil
}

// matchesSubject compares token by token; "*" in the filter matches any.
func matchesSubject(filter, subject string) bool {
	for {
		want, restWanted, moreWanted := strings.Cut(filter, ".")
		got, rest, more := strings.Cut(subject, ".")
		if want != "*" && want != got || more != moreWanted {
			return false
		}
		if !more {
			return true
		}
		filter, subject = restWanted, rest
	}
}
