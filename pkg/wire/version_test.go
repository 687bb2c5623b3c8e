package wire_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/wire"
)

// What has a higher version than this reader's is told from what is broken, even
// where nothing else of it can be understood; a field that is not known is
// passed over.
func TestVersions(t *testing.T) {
	user := chat.UserMessage{ID: "m", ChannelID: "shop", ConversationID: "1", Input: chat.Input{Kind: chat.InputText}}
	bot := chat.BotMessage{ID: "m", ChannelID: "shop", ConversationID: "1"}
	for name, test := range map[string]struct {
		encode func() ([]byte, error)
		decode func([]byte) error
	}{
		"user message": {
			func() ([]byte, error) { return wire.EncodeUserMessage(&user) },
			func(b []byte) error { _, err := wire.DecodeUserMessage(b); return err },
		},
		"bot message": {
			func() ([]byte, error) { return wire.EncodeBotMessage(&bot) },
			func(b []byte) error { _, err := wire.DecodeBotMessage(b); return err },
		},
		"dead letter": {
			func() ([]byte, error) {
				return wire.EncodeDeadLetter(&chat.DeadLetter{MessageID: "m", Stage: chat.StageBot})
			},
			func(b []byte) error { _, err := wire.DecodeDeadLetter(b); return err },
		},
		"lane state": {
			func() ([]byte, error) { return wire.EncodeLaneState(&chat.LaneState{HeadSeq: 1}) },
			func(b []byte) error { _, err := wire.DecodeLaneState(b); return err },
		},
		"session": {
			func() ([]byte, error) { return wire.EncodeSession(&chat.Session{Epoch: 1}) },
			func(b []byte) error { _, err := wire.DecodeSession(b); return err },
		},
		"journal entry": {
			func() ([]byte, error) {
				return wire.EncodeDelivery(&chat.Delivery{At: time.UnixMilli(1), MessageID: "m"})
			},
			func(b []byte) error { _, _, err := wire.DecodeJournalEntry(b); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := test.encode()
			require.NoError(t, err)
			require.NoError(t, test.decode(withField(b, 99, 1)), "a field that is not known")
			require.NoError(t, test.decode(withField(b, 100, wire.Version)))
			for _, stored := range [][]byte{withField(b, 100, wire.Version+1), withField(nil, 100, wire.Version+1)} {
				err = test.decode(stored)
				require.ErrorIs(t, err, wire.ErrNewer)
				require.ErrorIs(t, err, wire.ErrUndecodable, "who only reads treats it as that")
			}
		})
	}
	_, err := wire.DecodeUserMessage(nil)
	require.NotErrorIs(t, err, wire.ErrNewer)
}

func withField(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(append([]byte(nil), b...), field, protowire.VarintType), n)
}
