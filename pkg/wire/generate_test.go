package wire_test

import (
	"encoding/json"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/pkg/chat"
)

// Generators of values that a round trip keeps: every field, at random.

func userMessage() *rapid.Generator[chat.UserMessage] {
	return rapid.Custom(func(t *rapid.T) chat.UserMessage {
		return chat.UserMessage{
			ID:             name(t, "id"),
			ChannelID:      name(t, "channel"),
			ConversationID: name(t, "conversation"),
			AcceptedAt:     instant(t, "acceptedAt"),
			ConfigRevision: rapid.Uint64().Draw(t, "revision"),
			Input: chat.Input{
				Kind: rapid.SampledFrom([]chat.InputKind{
					chat.InputText, chat.InputPostback, chat.InputIntro,
					chat.InputFile, chat.InputLocation, chat.InputActions,
				}).Draw(t, "kind"),
				Body: document(t, "body"),
			},
			SessionData: document(t, "sessionData"),
			User:        document(t, "user"),
			Locale:      rapid.String().Draw(t, "locale"),
			Traceparent: rapid.String().Draw(t, "traceparent"),
			ExpiresAt:   instant(t, "expiresAt"),
			Supersede:   rapid.Bool().Draw(t, "supersede"),
		}
	})
}

func botMessage() *rapid.Generator[chat.BotMessage] {
	return rapid.Custom(func(t *rapid.T) chat.BotMessage {
		return chat.BotMessage{
			ID:             name(t, "id"),
			ChannelID:      name(t, "channel"),
			ConversationID: name(t, "conversation"),
			BotID:          rapid.String().Draw(t, "bot"),
			Ordinal:        ordinal(t),
			InputID:        rapid.String().Draw(t, "input"),
			CreatedAt:      instant(t, "createdAt"),
			ConfigRevision: rapid.Uint64().Draw(t, "revision"),
			Event:          rapid.String().Draw(t, "event"),
			Message:        document(t, "message"),
			NLP:            document(t, "nlp"),
			Traceparent:    rapid.String().Draw(t, "traceparent"),
			ExpiresAt:      instant(t, "expiresAt"),
			Supersede:      rapid.Bool().Draw(t, "supersede"),
		}
	})
}

func deadLetter() *rapid.Generator[chat.DeadLetter] {
	return rapid.Custom(func(t *rapid.T) chat.DeadLetter {
		d := chat.DeadLetter{
			MessageID:      name(t, "id"),
			Stage:          rapid.SampledFrom([]chat.Stage{chat.StageUser, chat.StageBot}).Draw(t, "stage"),
			ChannelID:      rapid.String().Draw(t, "channel"),
			Destination:    rapid.String().Draw(t, "destination"),
			ConversationID: rapid.String().Draw(t, "conversation"),
			Counter:        rapid.Uint64().Draw(t, "counter"),
			Reason:         rapid.String().Draw(t, "reason"),
			Error:          rapid.String().Draw(t, "error"),
			FirstFailure:   instant(t, "firstFailure"),
			DiedAt:         instant(t, "diedAt"),
			AttemptCount:   int(rapid.Int32().Draw(t, "attemptCount")),
			Attempts:       attempts(t),
			Data:           document(t, "data"),
		}
		if h := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "headers"); len(h) > 0 {
			d.Headers = h
		}
		return d
	})
}

func laneState() *rapid.Generator[chat.LaneState] {
	return rapid.Custom(func(t *rapid.T) chat.LaneState {
		return chat.LaneState{
			HeadSeq:      rapid.Uint64().Draw(t, "headSeq"),
			Due:          instant(t, "due"),
			FirstFailure: instant(t, "firstFailure"),
			AttemptCount: int(rapid.Int32().Draw(t, "attemptCount")),
			Attempts:     attempts(t),
			Held:         rapid.Bool().Draw(t, "held"),
			GivenUp:      rapid.String().Draw(t, "givenUp"),
			Asked:        rapid.Bool().Draw(t, "asked"),
		}
	})
}

func session() *rapid.Generator[chat.Session] {
	return rapid.Custom(func(t *rapid.T) chat.Session {
		return chat.Session{
			ChannelID:      rapid.String().Draw(t, "channel"),
			ConversationID: rapid.String().Draw(t, "conversation"),
			Epoch:          rapid.Uint64().Draw(t, "epoch"),
			Counter:        rapid.Uint64().Draw(t, "counter"),
			LastInputSeq:   rapid.Uint64().Draw(t, "lastInputSeq"),
			LastInputAt:    rapid.Int64().Draw(t, "lastInputAt"),
			LastInputID:    rapid.String().Draw(t, "lastInputID"),
			LastOutput:     output(t),
			BotID:          rapid.String().Draw(t, "bot"),
			Dialog:         document(t, "dialog"),
			Variables:      document(t, "variables"),
			User:           document(t, "user"),
			Locale:         rapid.String().Draw(t, "locale"),
			Paused:         rapid.Bool().Draw(t, "paused"),
			LastPlaceAt:    rapid.Int64().Draw(t, "lastPlaceAt"),
		}
	})
}

func turn() *rapid.Generator[chat.Turn] {
	return rapid.Custom(func(t *rapid.T) chat.Turn {
		made := chat.Turn{
			At:       instant(t, "at"),
			Input:    userMessage().Draw(t, "input"),
			Output:   output(t),
			BotID:    rapid.String().Draw(t, "bot"),
			Duration: duration(t),
			Outcome:  chat.Outcome(rapid.String().Draw(t, "outcome")),
			NoBodies: rapid.Bool().Draw(t, "noBodies"),
		}
		if rapid.Bool().Draw(t, "attempted") {
			made.Attempt = new(attempt().Draw(t, "attempt"))
		}
		return made
	})
}

func delivery() *rapid.Generator[chat.Delivery] {
	return rapid.Custom(func(t *rapid.T) chat.Delivery {
		d := chat.Delivery{
			At:             instant(t, "at"),
			ChannelID:      rapid.String().Draw(t, "channel"),
			ConversationID: rapid.String().Draw(t, "conversation"),
			MessageID:      rapid.String().Draw(t, "message"),
			EndpointID:     rapid.String().Draw(t, "endpoint"),
			Ordinal:        ordinal(t),
			AttemptNumber:  int(rapid.Int32().Draw(t, "attemptNumber")),
			Outcome:        chat.Outcome(rapid.String().Draw(t, "outcome")),
			Reason:         rapid.String().Draw(t, "reason"),
			Replay:         rapid.String().Draw(t, "replay"),
			NoBodies:       rapid.Bool().Draw(t, "noBodies"),
		}
		if rapid.Bool().Draw(t, "attempted") {
			a := attempt().Draw(t, "attempt")
			d.Attempt = &a
		}
		return d
	})
}

func attempt() *rapid.Generator[chat.Attempt] {
	return rapid.Custom(func(t *rapid.T) chat.Attempt {
		return chat.Attempt{
			At:       instant(t, "at"),
			Duration: duration(t),
			Status:   int(rapid.Int32().Draw(t, "status")),
			Error:    rapid.String().Draw(t, "error"),
			Excerpt:  document(t, "excerpt"),
		}
	})
}

func attempts(t *rapid.T) []chat.Attempt {
	list := rapid.SliceOfN(attempt(), 0, 3).Draw(t, "attempts")
	if len(list) == 0 {
		return nil
	}
	return list
}

func output(t *rapid.T) []chat.BotMessage {
	list := rapid.SliceOfN(botMessage(), 0, 3).Draw(t, "output")
	if len(list) == 0 {
		return nil
	}
	return list
}

func ordinal(t *rapid.T) chat.Ordinal {
	return chat.Ordinal{
		Epoch:   rapid.Uint64().Draw(t, "epoch"),
		Counter: rapid.Uint64().Draw(t, "counter"),
		InputAt: rapid.Int64().Draw(t, "inputAt"),
	}
}

func name(t *rapid.T, label string) string {
	return rapid.StringN(1, 40, -1).Draw(t, label)
}

// document is opaque to the codec, so any bytes will do.
func document(t *rapid.T, label string) json.RawMessage {
	b := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, label)
	if len(b) == 0 {
		return nil
	}
	return b
}

func instant(t *rapid.T, label string) time.Time {
	ms := rapid.Int64Range(0, 4102444800000).Draw(t, label)
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func duration(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "duration")) * time.Microsecond
}
