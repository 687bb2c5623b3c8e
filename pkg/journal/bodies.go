package journal

import "github.com/parleyhq/parley/pkg/chat"

// withoutBodies is a turn without what was said: ids, kinds, times, places and
// outcomes stay. What the caller gave is not changed.
func withoutBodies(t *chat.Turn) *chat.Turn {
	out := *t
	out.NoBodies = true
	out.Input.Input.Body, out.Input.SessionData, out.Input.User = nil, nil, nil
	out.Output = make([]chat.BotMessage, len(t.Output))
	for i := range t.Output {
		out.Output[i] = t.Output[i]
		out.Output[i].Message, out.Output[i].NLP = nil, nil
	}
	out.Attempt = withoutExcerpt(t.Attempt)
	return &out
}

// withoutAnswer is a delivery without the answer's excerpt, which may quote what
// was said.
func withoutAnswer(d *chat.Delivery) *chat.Delivery {
	out := *d
	out.NoBodies = true
	out.Attempt = withoutExcerpt(d.Attempt)
	return &out
}

func withoutExcerpt(a *chat.Attempt) *chat.Attempt {
	if a == nil {
		return nil
	}
	out := *a
	out.Excerpt = nil
	return &out
}
