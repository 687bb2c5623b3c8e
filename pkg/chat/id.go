package chat

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// ConversationKey is the 128-bit hash of a channel's and a conversation's id
// together: what stands for the conversation in subjects, keys and ids, since
// conversation ids are arbitrary strings from outside.
type ConversationKey [16]byte

// KeyOf hashes a conversation: the first 128 bits of SHA-256 over both ids,
// the first one preceded by its length.
func KeyOf(channelID, conversationID string) ConversationKey {
	buf := make([]byte, 0, 128)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(channelID)))
	buf = append(buf, channelID...)
	buf = append(buf, conversationID...)
	sum := sha256.Sum256(buf)
	return ConversationKey(sum[:16])
}

// ParseConversationKey reads the form that String writes.
func ParseConversationKey(s string) (ConversationKey, error) {
	var k ConversationKey
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return k, errors.New("a conversation key has 32 hexadecimal digits")
	}
	copy(k[:], b)
	return k, nil
}

// String returns the key as 32 lower-case hexadecimal digits.
func (k ConversationKey) String() string { return hex.EncodeToString(k[:]) }

// Partition returns the key's partition, in [0, partitions).
func (k ConversationKey) Partition(partitions int) int {
	return int(binary.BigEndian.Uint64(k[:8]) % uint64(partitions))
}

// A message id is "msg_" and 48 characters of base32hex over 30 bytes: the
// time in ms (6), the conversation's key (16), a suffix (8).
const (
	messageIDPrefix = "msg_"
	messageIDBytes  = 6 + 16 + 8
)

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewMessageID makes a user message's id from the time of acceptance, the
// conversation and 64 random bits.
func NewMessageID(at time.Time, key ConversationKey, random uint64) string {
	return messageID(uint64(at.UnixMilli()), key, random)
}

// KeyedMessageID makes the id of a user message sent with an Idempotency-Key.
// It depends on nothing but the conversation, the channel and that key, so that a repeat
// has the same id wherever and whenever it arrives; its time is therefore 0.
func KeyedMessageID(key ConversationKey, channelID, idempotencyKey string) string {
	return messageID(0, key, suffix("key", channelID, idempotencyKey))
}

// BotMessageID makes the id of a turn's index-th bot message. It is a function
// of the turn's input, accepted at a time, so that a republished turn has the
// same ids, and one that is made again.
func BotMessageID(acceptedAt time.Time, key ConversationKey, inputID string, index int) string {
	return messageID(uint64(acceptedAt.UnixMilli()), key, suffix("bot", inputID, string(rune('0'+index))))
}

// EventID makes the id of an event, of which what caused it, at a time, has one
// at most; as BotMessageID it is always the same.
func EventID(at time.Time, key ConversationKey, event, cause string) string {
	return messageID(uint64(at.UnixMilli()), key, suffix("event", event, cause))
}

// ParseMessageID takes a message id apart. The time is the zero time for an id
// that was made from an Idempotency-Key.
func ParseMessageID(id string) (at time.Time, key ConversationKey, err error) {
	enc, ok := strings.CutPrefix(id, messageIDPrefix)
	if !ok || len(enc) != idEncoding.EncodedLen(messageIDBytes) {
		return at, key, errors.New(`a message id is "msg_" and 48 characters`)
	}
	raw, err := idEncoding.DecodeString(enc)
	if err != nil || len(raw) != messageIDBytes { // the decoder leaves out line breaks
		return at, key, errors.New("a message id has only the characters 0-9 and a-v after msg_")
	}
	if ms := binary.BigEndian.Uint64(append([]byte{0, 0}, raw[:6]...)); ms != 0 {
		at = time.UnixMilli(int64(ms))
	}
	copy(key[:], raw[6:22])
	return at, key, nil
}

func messageID(ms uint64, key ConversationKey, suffix uint64) string {
	var raw [messageIDBytes]byte
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], ms)
	copy(raw[:6], t[2:])
	copy(raw[6:22], key[:])
	binary.BigEndian.PutUint64(raw[22:], suffix)
	var id [len(messageIDPrefix) + messageIDBytes*8/5]byte
	copy(id[:], messageIDPrefix)
	idEncoding.Encode(id[len(messageIDPrefix):], raw[:])
	return string(id[:])
}

func suffix(parts ...string) uint64 {
	buf := make([]byte, 0, 512)
	for _, p := range parts {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(p)))
		buf = append(buf, p...)
	}
	sum := sha256.Sum256(buf)
	return binary.BigEndian.Uint64(sum[:])
}
