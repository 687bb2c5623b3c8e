package chat

import "encoding/json"

// Limits of what a bot answers to a turn.
const (
	MaxBotMessages = 20
	MaxIntentName  = 256 // characters
)

// BotAnswer is what an http bot answers to a turn.
type BotAnswer struct {
	Messages []Message
	// SessionData are the variables that change: a value sets, null removes.
	SessionData json.RawMessage // a compact JSON object, or nil
	// NextDialogstate is where the conversation stands from now on; empty for
	// nowhere, nil to stay.
	NextDialogstate *string
	Locale          string // of the conversation from now on; empty to stay
	NLP             *NLP   // nil if the bot says nothing of it
}

// DecodeBotAnswer reads the body of an http bot's answer; its schema is
// proto/httpbot/v1/answer.schema.json. Unknown fields are ignored, and a null
// counts as absent. Any error is a *ValidationError.
func DecodeBotAnswer(body []byte) (*BotAnswer, error) {
	var p Problems
	doc := parse(body, &p)
	if doc == nil || !doc.object("", &p) {
		return nil, p.Err()
	}
	answer := &BotAnswer{}
	doc.fields(func(key []byte, v value) {
		switch at := "/" + escapePointer(string(key)); string(key) {
		case "messages":
			answer.Messages = decodeMessages(v, at, 0, MaxBotMessages, &p)
		case "sessionData":
			answer.SessionData = boundedObject(v, at, MaxSessionData, &p)
		case "nextDialogstate":
			if state, ok := v.text(at, 0, MaxDialogstate, &p); ok {
				answer.NextDialogstate = &state
			}
		case "locale":
			answer.Locale = decodeLocale(v, at, &p)
		case "nlp":
			answer.NLP = decodeNLP(v, at, &p)
		}
	})
	if err := p.Err(); err != nil {
		return nil, err
	}
	return answer, nil
}

// decodeNLP reads {intent:{name,score}}.
func decodeNLP(v value, pointer string, p *Problems) *NLP {
	if !v.object(pointer, p) {
		return nil
	}
	nlp, found := &NLP{}, false
	at := pointer + "/intent"
	v.fields(func(key []byte, v value) {
		if string(key) != "intent" {
			return
		}
		found = true
		if v.object(at, p) {
			nlp.Intent = decodeIntent(v, at, p)
		}
	})
	missing(found, at, "the intent that the bot recognised", p)
	return nlp
}

func decodeIntent(v value, pointer string, p *Problems) (in Intent) {
	var named, scored bool
	v.fields(func(key []byte, v value) {
		switch string(key) {
		case "name":
			named = true
			in.Name, _ = v.text(pointer+"/name", 1, MaxIntentName, p)
		case "score":
			scored = true
			in.Score = v.number(pointer+"/score", 0, 1, p)
		}
	})
	missing(named, pointer+"/name", "the intent's name", p)
	missing(scored, pointer+"/score", "how sure the bot is, from 0 to 1", p)
	return in
}
