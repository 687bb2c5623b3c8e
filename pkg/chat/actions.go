package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// MaxSendMessages is how many messages one actions body may hold.
const MaxSendMessages = 20

// DecodeActions reads the body of actions on a conversation from outside: any
// of sendMessages, nextDialogstate, sessionData, pauseBot, resumeBot, and where
// they are given the channel's id and expireAfter. Unknown fields are ignored. Any error is a
// *ValidationError.
func DecodeActions(body []byte) (actions *Actions, channelID string, err error) {
	var p Problems
	doc := parse(body, &p)
	if doc == nil || !doc.object("", &p) {
		return nil, "", p.Err()
	}
	actions = &Actions{}
	doc.fields(func(key []byte, v value) {
		at := "/" + escapePointer(string(key))
		switch string(key) {
		case "sendMessages":
			actions.SendMessages = decodeMessages(v, at, &p)
		case "nextDialogstate":
			actions.NextDialogstate, _ = v.text(at, 1, MaxDialogstate, &p)
		case "sessionData":
			actions.SessionData = boundedObject(v, at, MaxSessionData, &p)
		case "pauseBot":
			actions.PauseBot = v.boolean(at, &p)
		case "resumeBot":
			actions.ResumeBot = v.boolean(at, &p)
		case "expireAfter":
			actions.ExpireAfter = decodeExpireAfter(v, at, &p)
		case "channel":
			channelID = decodeChannel(v, at, &p)
		}
	})
	if actions.PauseBot && actions.ResumeBot {
		p.Add("/resumeBot", "can't stand beside pauseBot: send one of the two")
	}
	nothing := len(actions.SendMessages) == 0 && actions.NextDialogstate == "" && actions.SessionData == nil &&
		!actions.PauseBot && !actions.ResumeBot
	if nothing && p.Err() == nil {
		p.Add("", "asks for nothing: send at least one of sendMessages, nextDialogstate, sessionData, pauseBot, resumeBot")
	}
	if err := p.Err(); err != nil {
		return nil, "", err
	}
	return actions, channelID, nil
}

func decodeChannel(v value, pointer string, p *Problems) string {
	s, ok := v.text(pointer, 1, MaxConversationID, p)
	if !ok {
		return ""
	}
	if err := ValidateID("channel", s); err != nil {
		p.Add(pointer, err.Error())
		return ""
	}
	return s
}

func decodeMessages(v value, pointer string, p *Problems) []Message {
	if !v.want("[", "an array", pointer, p) {
		return nil
	}
	items := v.items()
	if len(items) < 1 || len(items) > MaxSendMessages {
		p.Add(pointer, fmt.Sprintf("must have 1 to %d messages, not %d", MaxSendMessages, len(items)))
		return nil
	}
	messages := make([]Message, 0, len(items))
	for i, item := range items {
		at := pointer + "/" + strconv.Itoa(i)
		if !item.object(at, p) {
			continue
		}
		var m Message
		if err := json.Unmarshal(item, &m); err != nil {
			p.Add(at, "is no bot message: "+typeDetail(err))
			continue
		}
		m.Validate(at, p)
		messages = append(messages, m)
	}
	return messages
}

// typeDetail words an encoding/json error for who wrote the JSON.
func typeDetail(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s can't be a JSON %s", wrong.Field, wrong.Value)
	}
	return err.Error()
}
