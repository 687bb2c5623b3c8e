package chat

import (
	"encoding/json"
	"strings"
)

// maxVerifyToken bounds the token of a legacy body, in characters.
const maxVerifyToken = 1_000

// DecodeLegacy reads a user message in the legacy form
// {"text","sender":{"id"},"verifyToken","locale"}. A text that is itself the
// JSON of a [PostbackPayload] becomes an InputPostback. The verify token comes
// back even where the rest is wrong, so that the caller can judge it first; it
// is empty where there was none. Any error is a *ValidationError.
func DecodeLegacy(body []byte) (in *Incoming, verifyToken Secret, err error) {
	var p Problems
	doc := parse(body, &p)
	if doc == nil || !doc.object("", &p) {
		return nil, "", p.Err()
	}
	in = &Incoming{}
	var text, sender value
	doc.fields(func(key []byte, v value) {
		switch string(key) {
		case "text":
			text = v
		case "sender":
			sender = v
		case "verifyToken":
			s, _ := v.text("/verifyToken", 0, maxVerifyToken, &p)
			verifyToken = Secret(s)
		case "locale":
			in.Locale = decodeLocale(v, "/locale", &p)
		}
	})
	in.ConversationID = decodeSender(sender, &p)
	if text == nil {
		p.Add("/text", "is missing: send the user's text")
	} else if s, ok := text.text("/text", 1, MaxText, &p); ok {
		in.Input = legacyInput(s, &p)
	}
	if err := p.Err(); err != nil {
		return nil, verifyToken, err
	}
	return in, verifyToken, nil
}

func decodeSender(sender value, p *Problems) string {
	var id value
	if sender != nil {
		if !sender.object("/sender", p) {
			return ""
		}
		sender.fields(func(key []byte, v value) {
			if string(key) == "id" {
				id = v
			}
		})
	}
	if id == nil {
		p.Add("/sender/id", "is missing: send the conversation's id")
		return ""
	}
	return decodeID(id, "/sender/id", p)
}

// legacyInput tells a stringified button payload from a plain text: it is an
// object with nextDialogstateId or params.
func legacyInput(text string, p *Problems) Input {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var inner Problems
		payload, isPayload := decodePayload(text, &inner)
		if isPayload {
			for _, problem := range inner.list {
				p.Add("/text", "holds a button's payload that is wrong: "+strings.TrimSpace(problem.Pointer+" "+problem.Detail))
			}
			return mustInput(InputPostback, PostbackInput{
				Title:             payload.Caption,
				NextDialogstateID: payload.NextDialogstateID,
				SessionDataToSet:  payload.Params,
			})
		}
	}
	return mustInput(InputText, TextInput{Text: text})
}

// ParsePostbackPayload reads a postback's payload as Parley's bots write it: a
// JSON object with nextDialogstateId or params. ok is false for anything else,
// which is then a payload of somebody else's.
func ParsePostbackPayload(s string) (payload PostbackPayload, ok bool) {
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		return PostbackPayload{}, false
	}
	var p Problems
	payload, ok = decodePayload(s, &p)
	if !ok || p.Err() != nil {
		return PostbackPayload{}, false
	}
	return payload, true
}

func decodePayload(s string, p *Problems) (payload PostbackPayload, isPayload bool) {
	var ignored Problems
	doc := parse([]byte(s), &ignored)
	if doc == nil || doc[0] != '{' {
		return payload, false
	}
	doc.fields(func(key []byte, v value) {
		switch string(key) {
		case "nextDialogstateId":
			isPayload = true
			payload.NextDialogstateID, _ = v.text("/nextDialogstateId", 0, MaxDialogstate, p)
		case "params":
			isPayload = true
			payload.Params = decodePairs(v, "/params", p)
		case "type":
			payload.Type, _ = v.text("/type", 0, MaxPostbackTitle, p)
		case "caption":
			payload.Caption, _ = v.text("/caption", 0, MaxPostbackTitle, p)
		}
	})
	return payload, isPayload
}

// mustInput encodes a body made of strings and raw JSON that was parsed, which
// can't fail.
func mustInput(kind InputKind, body any) Input {
	b, err := json.Marshal(body)
	if err != nil {
		panic("chat: encoding " + string(kind) + ": " + err.Error())
	}
	return Input{Kind: kind, Body: b}
}
