// Package topology is the map: the name of every stream, subject, bucket and
// consumer that Parley uses in JetStream, and how each is configured.
//
// Nothing else in the tree spells a subject. A partition of a stage is a work
// queue stream of its own with one consumer and no filter, or with none where
// one process has the broker to itself; parked lanes, dead letters, the journal
// and the sessions are read by subject.
package topology

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
)

// Names of the streams and buckets that are not partitioned.
const (
	StreamDead     = "DEAD"
	StreamJournal  = "JOURNAL"
	StreamSessions = "SESSIONS"
	StreamAudit    = "AUDIT"  // what operators changed
	BucketConfig   = "CONFIG" // channels, endpoints, bots, tokens, the layout
	BucketLeases   = "LEASES"
	BucketMembers  = "MEMBERS" // the live workers
	BucketLedger   = "LEDGER"
	BucketHealth   = "HEALTH"       // destinations that fail
	BucketCommands = "LANECOMMANDS" // what operators ask of parked lanes
	BucketReplays  = "REPLAYS"      // jobs on dead letters
)

// Headers of stored messages.
const (
	// HeaderSeq and HeaderTime keep, on a parked message, where and when its
	// original stood in the hot stream: a sequence, and Unix nanoseconds.
	HeaderSeq  = "Parley-Seq"
	HeaderTime = "Parley-Time"
	// HeaderReplay names the replay that a message came from, HeaderReplayTo its
	// one group, HeaderReplayPlace its place there.
	HeaderReplay      = "Parley-Replay"
	HeaderReplayTo    = "Parley-Replay-To"
	HeaderReplayPlace = "Parley-Replay-Place"
	// HeaderTraceparent is the context of the span that published a message (W3C
	// Trace Context), on messages whose trace is recorded. NATS itself knows it.
	HeaderTraceparent = "traceparent"
)

// HeaderKVOperation with KVDelete marks a bucket's key as deleted.
const (
	HeaderKVOperation = "KV-Operation"
	KVDelete          = "DEL"
)

// HotStream is the work queue of a stage's partition.
func HotStream(stage chat.Stage, partition int) string {
	return strings.ToUpper(string(stage)) + "_" + strconv.Itoa(partition)
}

// ParkedStream holds the waiting lanes of a stage.
func ParkedStream(stage chat.Stage) string {
	return strings.ToUpper(string(stage)) + "_PARKED"
}

// HotSubject is where a message of a conversation waits for its first attempt.
func HotSubject(stage chat.Stage, partition int, channelID string, key chat.ConversationKey) string {
	return string(stage) + "." + strconv.Itoa(partition) + "." + channelID + "." + key.String()
}

// LaneSubjects are the subjects of one parked lane: its messages, and its
// state. The group is the channel at the user stage and the endpoint at the
// bot stage.
func LaneSubjects(stage chat.Stage, partition int, group string, key chat.ConversationKey) (messages, state string) {
	tail := string(stage) + "." + strconv.Itoa(partition) + "." + group + "." + key.String()
	return "parked." + tail, "lane." + tail
}

// GroupFilter matches the parked messages of a group's lanes in a partition.
func GroupFilter(stage chat.Stage, partition int, group string) string {
	return fmt.Sprintf("parked.%s.%d.%s.*", stage, partition, group)
}

// WaitingSubject is where a stage's workers are asked what waits there; nothing
// is stored.
func WaitingSubject(stage chat.Stage) string { return "parley.waiting." + string(stage) }

// LaneFilters match the subjects of all parked lanes of a partition.
func LaneFilters(stage chat.Stage, partition int) (messages, states string) {
	tail := string(stage) + "." + strconv.Itoa(partition) + ".>"
	return "parked." + tail, "lane." + tail
}

// LaneStates matches the state records of a group's parked lanes in every
// partition; an empty group matches every one. LaneMessages does their messages.
func LaneStates(stage chat.Stage, group string) string {
	return "lane." + string(stage) + ".*." + wild(group) + ".*"
}

// LaneMessages is described at LaneStates.
func LaneMessages(stage chat.Stage, group string) string {
	return "parked." + string(stage) + ".*." + wild(group) + ".*"
}

// ConversationFilters match what waits of a conversation at a stage, whatever
// the channel or endpoint: in its partition's work queue, and parked.
func ConversationFilters(stage chat.Stage, partition int, key chat.ConversationKey) (hot, parked string) {
	parked, _ = LaneSubjects(stage, partition, "*", key)
	return HotSubject(stage, partition, "*", key), parked
}

// CommandKey is a lane's one key in BucketCommands.
func CommandKey(stage chat.Stage, partition int, group string, key chat.ConversationKey) string {
	return string(stage) + "." + strconv.Itoa(partition) + "." + group + "." + key.String()
}

// CommandFilter matches the commands to a partition's lanes.
func CommandFilter(stage chat.Stage, partition int) string {
	return string(stage) + "." + strconv.Itoa(partition) + ".>"
}

// CommandGroupFilter matches the commands to a group's lanes in every partition.
func CommandGroupFilter(stage chat.Stage, group string) string {
	return string(stage) + ".*." + group + ".*"
}

// CommandConversationFilter matches the commands to a conversation's lanes.
func CommandConversationFilter(stage chat.Stage, partition int, key chat.ConversationKey) string {
	return CommandKey(stage, partition, "*", key)
}

// ParseCommandKey takes the key of a command apart.
func ParseCommandKey(key string) (group string, conversation chat.ConversationKey, err error) {
	return ParseLaneSubject("lane." + key)
}

// ParseLaneSubject takes a lane's message or state subject apart.
func ParseLaneSubject(subject string) (group string, key chat.ConversationKey, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[0] != "parked" && parts[0] != "lane" {
		return "", key, fmt.Errorf("%q is no lane's subject", subject)
	}
	if key, err = chat.ParseConversationKey(parts[4]); err != nil {
		return "", key, fmt.Errorf("%q is no lane's subject: %w", subject, err)
	}
	return parts[3], key, nil
}

// DeadSubject is where the one dead letter of a message at a destination is.
func DeadSubject(stage chat.Stage, channelID, destination string, key chat.ConversationKey, messageID string) string {
	return strings.Join([]string{"dead", string(stage), token(channelID), token(destination), key.String(), token(messageID)}, ".")
}

// DeadFilter matches dead letters; an empty part matches every value.
func DeadFilter(stage chat.Stage, channelID, destination string) string {
	return strings.Join([]string{"dead", wild(string(stage)), wild(channelID), wild(destination), "*", "*"}, ".")
}

// DeadConversationFilter is DeadFilter for one conversation.
func DeadConversationFilter(stage chat.Stage, channelID, destination string, key chat.ConversationKey) string {
	return strings.Join([]string{"dead", wild(string(stage)), wild(channelID), wild(destination), key.String(), "*"}, ".")
}

// ParseDeadSubject takes the subject of a dead letter apart.
func ParseDeadSubject(subject string) (stage chat.Stage, channelID, destination string, key chat.ConversationKey, messageID string, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 6 || parts[0] != "dead" {
		return "", "", "", key, "", fmt.Errorf("%q is no dead letter's subject", subject)
	}
	if key, err = chat.ParseConversationKey(parts[4]); err != nil {
		return "", "", "", key, "", fmt.Errorf("%q is no dead letter's subject: %w", subject, err)
	}
	for i := 2; i < len(parts); i++ {
		if parts[i] == token("") {
			parts[i] = ""
		}
	}
	return chat.Stage(parts[1]), parts[2], parts[3], key, parts[5], nil
}

// DeadMessageFilter matches one message's dead letters at every destination.
// Without the conversation's key (nil) the broker has to look further.
func DeadMessageFilter(key *chat.ConversationKey, messageID string) string {
	conversation := "*"
	if key != nil {
		conversation = key.String()
	}
	return "dead.*.*.*." + conversation + "." + token(messageID)
}

// JournalSubject is where a conversation's turns and deliveries are recorded. The
// endpoint stands in the entry only: the broker keeps each subject in memory, 110
// to 235 bytes of it, for as long as the stream has a message of it.
func JournalSubject(channelID string, key chat.ConversationKey) string {
	return strings.Join([]string{"journal", token(channelID), token(""), key.String()}, ".")
}

// JournalFilter matches a conversation's journal, also where older entries have
// their endpoint in the subject.
func JournalFilter(channelID string, key chat.ConversationKey) string {
	return strings.Join([]string{"journal", token(channelID), "*", key.String()}, ".")
}

// AuditSubject is where what operators did to objects of a kind is recorded.
func AuditSubject(kind string) string { return "audit." + token(kind) }

// AuditFilter matches those records; an empty kind matches every one.
func AuditFilter(kind string) string { return "audit." + wild(kind) }

// JournalEntries matches journals: of a channel, or of all (empty); of a
// conversation, or of all (nil). What matches all is empty: with a filter, even
// one that lets all through, the broker looks at each subject to count.
func JournalEntries(channelID string, key *chat.ConversationKey) string {
	if channelID == "" && key == nil {
		return ""
	}
	conversation := "*"
	if key != nil {
		conversation = key.String()
	}
	return strings.Join([]string{"journal", wild(channelID), "*", conversation}, ".")
}

// SessionSubject is where a conversation's one session record is.
func SessionSubject(partition int, key chat.ConversationKey) string {
	return "session." + strconv.Itoa(partition) + "." + key.String()
}

// ConfigSubject is where a key of BucketConfig is stored: for a write that is
// conditional on the whole bucket, which the key-value API doesn't offer.
func ConfigSubject(key string) string { return "$KV." + BucketConfig + "." + key }

// Unsynced are the streams that nothing accepted depends on: they may lose their
// end in a power failure.
func Unsynced() []string {
	return []string{StreamJournal, BucketStream(BucketLeases), BucketStream(BucketMembers), BucketStream(BucketHealth)}
}

// BucketStream is the stream behind a bucket, KeySubject where a key of it is
// stored: for reads at the leader and writes with a condition and an age at
// once, which the key-value API doesn't offer.
func BucketStream(bucket string) string { return "KV_" + bucket }

// KeySubject is described at BucketStream.
func KeySubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// LeaseKey is a partition's one key in BucketLeases.
func LeaseKey(stage chat.Stage, partition int) string {
	return string(stage) + "." + strconv.Itoa(partition)
}

// ParseLeaseKey takes a lease's key apart.
func ParseLeaseKey(key string) (stage chat.Stage, partition int, err error) {
	s, p, _ := strings.Cut(key, ".")
	partition, err = strconv.Atoi(p)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no lease's key", key)
	}
	return chat.Stage(s), partition, nil
}

// MemberKey is a worker's key in BucketMembers. The incarnation tells one stay
// of an instance from the next: a key that has gone never comes back.
func MemberKey(stage chat.Stage, instance, incarnation string) string {
	return string(stage) + "." + keyToken(instance) + "." + incarnation
}

// HealthKey is a destination's one key in BucketHealth.
func HealthKey(stage chat.Stage, destination string) string {
	return string(stage) + "." + keyToken(destination)
}

// ParseHealthKey is the stage and the destination of a HealthKey, whose id is one
// that chat.ValidateID accepts.
func ParseHealthKey(key string) (chat.Stage, string) {
	stage, destination, _ := strings.Cut(key, ".")
	return chat.Stage(stage), destination
}

// KeyFilter matches the keys of a stage, in BucketMembers, BucketLeases and
// BucketHealth.
func KeyFilter(stage chat.Stage) string { return string(stage) + ".>" }

// keyToken makes one token of a bucket's key of any name.
func keyToken(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, token(s))
}

// ConsumerName names the consumer of a partition's owner: by the lease's
// revision, so that a successor can tell which are older, and by instance.
func ConsumerName(epoch uint64, instance string) string {
	return fmt.Sprintf("e%d_%s", epoch, instance)
}

// ConsumerEpoch reads the epoch from a consumer's name.
func ConsumerEpoch(name string) (uint64, bool) {
	rest, ours := strings.CutPrefix(name, "e")
	head, _, ok := strings.Cut(rest, "_")
	epoch, err := strconv.ParseUint(head, 10, 64)
	return epoch, ours && ok && err == nil
}

// token makes a subject's token of an id that may be empty.
func token(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func wild(s string) string {
	if s == "" {
		return "*"
	}
	return s
}
