package chat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestMessageIDRoundTrip(t *testing.T) {
	at := time.UnixMilli(1_763_000_000_123)
	key := chat.KeyOf("web", "c1")
	for name, id := range map[string]string{
		"new": chat.NewMessageID(at, key, 42),
		"bot": chat.BotMessageID(at, key, "msg_x", 3),
	} {
		gotAt, gotKey, err := chat.ParseMessageID(id)
		require.NoError(t, err, name)
		require.True(t, at.Equal(gotAt), name)
		require.Equal(t, key, gotKey, name)
		require.Len(t, id, len("msg_")+48, name)
	}
	gotAt, gotKey, err := chat.ParseMessageID(chat.KeyedMessageID(key, "web", "k"))
	require.NoError(t, err)
	require.True(t, gotAt.IsZero())
	require.Equal(t, key, gotKey)
}

func TestMessageIDsDependOnWhatTheyStandFor(t *testing.T) {
	at := time.UnixMilli(1)
	key := chat.KeyOf("web", "c1")
	require.Equal(t, chat.BotMessageID(at, key, "in", 1), chat.BotMessageID(at, key, "in", 1))
	require.Equal(t, chat.KeyedMessageID(key, "web", "k"), chat.KeyedMessageID(key, "web", "k"))
	ids := []string{
		chat.NewMessageID(at, key, 1), chat.NewMessageID(at, key, 2), chat.NewMessageID(at.Add(time.Millisecond), key, 1),
		chat.KeyedMessageID(key, "web", "k"), chat.KeyedMessageID(key, "we", "bk"), chat.KeyedMessageID(key, "web", "k2"),
	}
	for i := range 100 {
		ids = append(ids, chat.BotMessageID(at, key, "in", i))
	}
	seen := map[string]bool{}
	for _, id := range ids {
		require.False(t, seen[id], id)
		seen[id] = true
	}
}

func TestMessageIDsSortByTime(t *testing.T) {
	key := chat.KeyOf("web", "c1")
	early, late := chat.NewMessageID(time.UnixMilli(1000), key, 9), chat.NewMessageID(time.UnixMilli(1001), key, 1)
	require.Less(t, early, late)
}

func TestParseMessageIDRefuses(t *testing.T) {
	good := chat.NewMessageID(time.UnixMilli(1), chat.KeyOf("a", "b"), 1)
	for _, id := range []string{"", "msg_", good[4:], good + "0", good[:len(good)-1], good[:len(good)-1] + "\n", good[:len(good)-1] + "z", strings.ToUpper(good)} {
		_, _, err := chat.ParseMessageID(id)
		require.Error(t, err, "%q", id)
	}
}

func TestConversationKey(t *testing.T) {
	require.NotEqual(t, chat.KeyOf("ab", "c"), chat.KeyOf("a", "bc"))
	key := chat.KeyOf("web", "c1")
	parsed, err := chat.ParseConversationKey(key.String())
	require.NoError(t, err)
	require.Equal(t, key, parsed)
	for _, s := range []string{"", "zz", key.String() + "00", key.String()[1:]} {
		_, err := chat.ParseConversationKey(s)
		require.Error(t, err, s)
	}
}

func TestPartitionsSpread(t *testing.T) {
	const conversations, partitions = 8000, 8
	var counts [partitions]int
	for i := range conversations {
		counts[chat.KeyOf("web", fmt.Sprintf("conversation-%d", i)).Partition(partitions)]++
	}
	for p, n := range counts {
		require.InDelta(t, conversations/partitions, n, 150, "partition %d", p) // five standard deviations
	}
}

func FuzzParseMessageID(f *testing.F) {
	f.Add(chat.NewMessageID(time.UnixMilli(77), chat.KeyOf("a", "b"), 1))
	f.Fuzz(func(t *testing.T, id string) {
		at, key, err := chat.ParseMessageID(id)
		if err != nil {
			return
		}
		require.Len(t, id, 52)
		parsed, err := chat.ParseConversationKey(key.String())
		require.NoError(t, err)
		require.Equal(t, key, parsed)
		if at.IsZero() {
			at = time.UnixMilli(0)
		}
		prefix := chat.NewMessageID(at, key, 0)[:4+35] // 175 bits of time and key
		require.True(t, strings.HasPrefix(id, prefix))
	})
}

func TestValidateID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "0": true, "web-1_x": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "-a": false, "_a": false, "A": false, "a.b": false, "a*": false, "a>": false, "a b": false, "é": false, "a\n": false,
	} {
		if err := chat.ValidateID("channel", id); want {
			require.NoError(t, err, "%q", id)
		} else {
			require.ErrorContains(t, err, "1 to 64 characters", "%q", id)
		}
	}
}

func BenchmarkPartition(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if chat.KeyOf("webshop", "user-4711").Partition(64) > 63 {
			b.Fatal("out of range")
		}
	}
}

func BenchmarkBotMessageID(b *testing.B) {
	at, key := time.UnixMilli(1785240000123), chat.KeyOf("webshop", "user-4711")
	input := chat.NewMessageID(at, key, 42)
	b.ReportAllocs()
	for b.Loop() {
		if chat.BotMessageID(at, key, input, 0) == input {
			b.Fatal("the input's own id")
		}
	}
}
