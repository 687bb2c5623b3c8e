package topology_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/broker/brokertest"
	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/topology"
)

func TestLaneSubjectsParse(t *testing.T) {
	key := chat.KeyOf("shop", "1")
	messages, state := topology.LaneSubjects(chat.StageBot, 7, "crm", key)
	require.NotEqual(t, messages, state)
	for _, subject := range []string{messages, state} {
		group, got, err := topology.ParseLaneSubject(subject)
		require.NoError(t, err)
		require.Equal(t, "crm", group)
		require.Equal(t, key, got)
	}
	for _, bad := range []string{
		"", "parked", messages + ".x", strings.Replace(messages, "parked", "dead", 1),
		"lane.bot.7.crm.xyz", "lane.bot.7.crm." + key.String()[1:],
	} {
		_, _, err := topology.ParseLaneSubject(bad)
		require.ErrorContains(t, err, "is no lane's subject", bad)
	}
}

func TestConsumerNames(t *testing.T) {
	for _, epoch := range []uint64{0, 1, 12345678901234567890} {
		got, ok := topology.ConsumerEpoch(topology.ConsumerName(epoch, "host-1"))
		require.True(t, ok)
		require.Equal(t, epoch, got)
	}
	for _, other := range []string{"", "e", "e_x", "12_x", "e12", "ee12_x", "e-1_x", "e12x_y", "backup"} {
		_, ok := topology.ConsumerEpoch(other)
		require.False(t, ok, other)
	}
}

// matches is NATS's rule for a filter with wildcards.
func matches(filter, subject string) bool {
	want, have := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range want {
		if token == ">" {
			return len(have) > i
		}
		if i >= len(have) || token != "*" && token != have[i] {
			return false
		}
	}
	return len(want) == len(have)
}

// owners returns the streams that store a subject.
func owners(l topology.Layout, subject string) []string {
	var out []string
	for _, s := range l.Streams() {
		for _, filter := range s.Subjects {
			if matches(filter, subject) {
				out = append(out, s.Name)
			}
		}
	}
	for _, b := range l.Buckets() {
		if matches("$KV."+b.Bucket+".>", subject) {
			out = append(out, "KV_"+b.Bucket)
		}
	}
	return out
}

func TestEverySubjectHasOneStream(t *testing.T) {
	ids := rapid.StringMatching(`[A-Za-z0-9_-]{1,20}`)
	stages := rapid.SampledFrom([]chat.Stage{chat.StageUser, chat.StageBot})
	rapid.Check(t, func(t *rapid.T) {
		l := brokertest.Layout
		l.Partitions = rapid.IntRange(1, topology.MaxPartitions).Draw(t, "partitions")
		channel, group, conversation := ids.Draw(t, "channel"), ids.Draw(t, "group"), rapid.String().Draw(t, "conversation")
		stage := stages.Draw(t, "stage")
		key := chat.KeyOf(channel, conversation)
		p := key.Partition(l.Partitions)
		id := chat.NewMessageID(t0, key, rand.Uint64())
		optional := rapid.SampledFrom([]string{"", group}).Draw(t, "endpoint")

		messages, state := topology.LaneSubjects(stage, p, group, key)
		for subject, stream := range map[string]string{
			topology.HotSubject(stage, p, channel, key): topology.HotStream(stage, p),
			messages: topology.ParkedStream(stage),
			state:    topology.ParkedStream(stage),
			topology.DeadSubject(stage, channel, optional, key, id):                      topology.StreamDead,
			topology.JournalSubject(channel, key):                                        topology.StreamJournal,
			topology.AuditSubject(optional):                                              topology.StreamAudit,
			topology.SessionSubject(p, key):                                              topology.StreamSessions,
			topology.ConfigSubject("endpoint." + group):                                  "KV_" + topology.BucketConfig,
			"$KV." + topology.BucketLeases + ".user." + strconv.Itoa(p):                  "KV_" + topology.BucketLeases,
			"$KV." + topology.BucketLedger + "." + group + key.String():                  "KV_" + topology.BucketLedger,
			topology.KeySubject(topology.BucketHealth, topology.HealthKey(stage, group)): "KV_" + topology.BucketHealth,
		} {
			if got := owners(l, subject); len(got) != 1 || got[0] != stream {
				t.Fatalf("%s is stored by %v, not by %s alone", subject, got, stream)
			}
		}
		byLane, byState := topology.LaneFilters(stage, p)
		require.True(t, matches(byLane, messages) && !matches(byLane, state))
		require.True(t, matches(byState, state) && !matches(byState, messages))
		group2, key2, err := topology.ParseLaneSubject(messages)
		require.NoError(t, err)
		require.Equal(t, group, group2)
		require.Equal(t, key, key2)
	})
}

func TestFiltersMatchWhatTheyName(t *testing.T) {
	key, other := chat.KeyOf("shop", "1"), chat.KeyOf("shop", "2")
	dead := topology.DeadSubject(chat.StageBot, "shop", "crm", key, "msg_1")
	for filter, want := range map[string]bool{
		topology.DeadFilter("", "", ""):                   true,
		topology.DeadFilter(chat.StageBot, "shop", "crm"): true,
		topology.DeadFilter(chat.StageUser, "", ""):       false,
		topology.DeadFilter("", "other", ""):              false,
		topology.DeadFilter("", "", "other"):              false,
		topology.DeadMessageFilter(nil, "msg_1"):          true,
		topology.DeadMessageFilter(&key, "msg_1"):         true,
		topology.DeadMessageFilter(&other, "msg_1"):       false,
		topology.DeadMessageFilter(nil, "msg_2"):          false,
	} {
		require.Equal(t, want, matches(filter, dead), filter)
	}
	unknown := topology.DeadSubject(chat.StageUser, "", "", key, "seq-1")
	require.True(t, matches(topology.DeadFilter(chat.StageUser, "", ""), unknown), "an empty id has its token")
	for _, entry := range []string{topology.JournalSubject("shop", key), "journal.shop.crm." + key.String()} {
		require.True(t, matches(topology.JournalFilter("shop", key), entry), entry)
	}
	require.False(t, matches(topology.JournalFilter("shop", other), topology.JournalSubject("shop", key)))
	messages, state := topology.LaneSubjects(chat.StageBot, 3, "crm", key)
	hot, parked := topology.ConversationFilters(chat.StageBot, 3, key)
	require.True(t, matches(hot, topology.HotSubject(chat.StageBot, 3, "shop", key)))
	require.True(t, matches(parked, messages))
	require.False(t, matches(parked, state))
	_, parked = topology.ConversationFilters(chat.StageBot, 3, other)
	require.False(t, matches(parked, messages))
	command := topology.CommandKey(chat.StageBot, 3, "crm", key)
	require.True(t, matches(topology.CommandConversationFilter(chat.StageBot, 3, key), command))
	require.False(t, matches(topology.CommandConversationFilter(chat.StageUser, 3, key), command))
	for kind, want := range map[string]bool{"": true, "lane": true, "bot": false} {
		require.Equal(t, want, matches(topology.AuditFilter(kind), topology.AuditSubject("lane")), kind)
	}
}
