package chat_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
)

func TestEvents(t *testing.T) {
	operational := map[string]bool{}
	for _, event := range chat.Events() {
		require.True(t, chat.IsEvent(event))
		operational[event] = chat.Operational(event)
	}
	require.Equal(t, map[string]bool{
		"message": false, "user_message": false, "offload": false,
		"delivery.failed": true, "dead_letter.created": true,
		"endpoint.failing": true, "endpoint.disabled": true, "endpoint.recovered": true,
	}, operational)
	require.False(t, chat.IsEvent("typing"))
	require.False(t, chat.IsEvent(chat.EventEndpointTest), "it passes every filter")
}

// TestNoUserHasTheEventsConversation: what comes from outside can't stand among
// operational events.
func TestNoUserHasTheEventsConversation(t *testing.T) {
	for _, endpoint := range []string{"", "crm"} {
		id := chat.EventConversation(endpoint)
		_, err := chat.DecodeInput(fmt.Appendf(nil, `{"conversationId":"\u001f%s","message":{"introMessage":{}}}`, id[1:]))
		require.ErrorContains(t, err, "control characters")
		require.Equal(t, byte(0x1f), id[0])
	}
	require.NotEqual(t, chat.EventConversation("a"), chat.EventConversation("b"))
}
