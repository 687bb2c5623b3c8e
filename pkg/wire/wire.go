package wire

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/runtime/protoiface"

	"github.com/parleyhq/parley/pkg/chat"
	parleyv1 "github.com/parleyhq/parley/proto/parley/v1"
)

// ErrUndecodable means that stored bytes are not what they should be; trying
// again gives the same.
var ErrUndecodable = errors.New("undecodable")

// ErrNewer means that a newer Parley wrote the bytes, in a form that this one
// doesn't read: they are well, and a newer one reads them. An error that wraps
// it wraps ErrUndecodable too.
var ErrNewer = errors.New("it needs a newer Parley")

// Version is the highest version of stored messages that is read; what is
// written has version 0. docs/upgrading.md says when and how it rises.
const Version = 0

func checkVersion(v uint64) error {
	if v > Version {
		return fmt.Errorf("%w: its version is %d, and this one reads up to %d", ErrNewer, v, Version)
	}
	return nil
}

// unmarshal decodes b into m, whose bytes fields then alias b.
func unmarshal(b []byte, m proto.Message) error {
	r := m.ProtoReflect()
	methods := r.ProtoMethods()
	if methods == nil || methods.Unmarshal == nil {
		return proto.Unmarshal(b, m)
	}
	_, err := methods.Unmarshal(protoiface.UnmarshalInput{
		Message: r, Buf: b, Flags: protoiface.UnmarshalAliasBuffer, Depth: maxDepth,
	})
	return err
}

// versioned is a message that says its version.
type versioned interface {
	proto.Message
	GetVersion() uint32
}

// unmarshalVersioned is unmarshal; it refuses what is newer.
func unmarshalVersioned(b []byte, m versioned) error {
	if err := unmarshal(b, m); err != nil {
		return err
	}
	return checkVersion(uint64(m.GetVersion()))
}

// maxDepth bounds the nesting of what is decoded; the envelopes need 4.
const maxDepth = 16

func undecodable(what string, err error) error {
	return fmt.Errorf("%w %s: %w", ErrUndecodable, what, err)
}

func encodeError(what string, err error) error {
	return fmt.Errorf("encoding a %s: %w", what, err)
}

func encode(what string, m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, encodeError(what, err)
	}
	return b, nil
}

// checkIdentity refuses a message that could not be told from others.
func checkIdentity(id, channelID, conversationID string) error {
	switch "" {
	case id:
		return errors.New("it has no id")
	case channelID:
		return errors.New("it has no channel")
	case conversationID:
		return errors.New("it has no conversation")
	}
	return nil
}

func checkStage(s chat.Stage) error {
	if s != chat.StageUser && s != chat.StageBot {
		return fmt.Errorf("unknown stage %q", s)
	}
	return nil
}

func kindToProto(k chat.InputKind) (parleyv1.InputKind, error) {
	switch k {
	case chat.InputText:
		return parleyv1.InputKind_INPUT_KIND_TEXT, nil
	case chat.InputPostback:
		return parleyv1.InputKind_INPUT_KIND_POSTBACK, nil
	case chat.InputIntro:
		return parleyv1.InputKind_INPUT_KIND_INTRO, nil
	case chat.InputFile:
		return parleyv1.InputKind_INPUT_KIND_FILE, nil
	case chat.InputLocation:
		return parleyv1.InputKind_INPUT_KIND_LOCATION, nil
	case chat.InputActions:
		return parleyv1.InputKind_INPUT_KIND_ACTIONS, nil
	}
	return 0, fmt.Errorf("unknown kind of input %q", k)
}

func kindFromProto(k parleyv1.InputKind) (chat.InputKind, error) {
	switch k {
	case parleyv1.InputKind_INPUT_KIND_TEXT:
		return chat.InputText, nil
	case parleyv1.InputKind_INPUT_KIND_POSTBACK:
		return chat.InputPostback, nil
	case parleyv1.InputKind_INPUT_KIND_INTRO:
		return chat.InputIntro, nil
	case parleyv1.InputKind_INPUT_KIND_FILE:
		return chat.InputFile, nil
	case parleyv1.InputKind_INPUT_KIND_LOCATION:
		return chat.InputLocation, nil
	case parleyv1.InputKind_INPUT_KIND_ACTIONS:
		return chat.InputActions, nil
	}
	return "", fmt.Errorf("unknown kind of input %d", k)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func micros(d time.Duration) int64 { return d.Microseconds() }

func fromMicros(us int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Microsecond)
	return time.Duration(max(-most, min(us, most))) * time.Microsecond
}

// raw makes an empty slice nil.
func raw(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
