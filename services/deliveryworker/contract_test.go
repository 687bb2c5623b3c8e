package deliveryworker

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// TestEventsAreAsDescribed: what an endpoint gets is what docs/api/openapi.yaml
// says, of every event, and nothing else passes for one.
func TestEventsAreAsDescribed(t *testing.T) {
	text, err := os.ReadFile("../../docs/api/openapi.yaml")
	require.NoError(t, err)
	doc, err := libopenapi.NewDocument(text)
	require.NoError(t, err)
	model, err := doc.BuildV3Model()
	require.NoError(t, err)
	described, ok := model.Model.Webhooks.Get("event")
	require.True(t, ok)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	wrong := func(header http.Header, body string) []*errors.ValidationError {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://customer.example/hook", strings.NewReader(body))
		require.NoError(t, err)
		request.Header = header
		_, problems := v.ValidateHttpRequestSyncWithPathItem(request, described, "/hook")
		return problems
	}

	r := newRig(t)
	customer := webhooktest.New(t)
	r.endpoint("desk", customer.URL(), func(e *chat.Endpoint) { e.Events = chat.Events() })
	at := time.UnixMilli(1_700_000_000_123)
	id := chat.NewMessageID(at, chat.KeyOf(channel, "ann"), 1)
	for i, event := range chat.Events()[1:] {
		require.NotEqual(t, chat.EventMessage, event)
		var data any
		switch event {
		case chat.EventUserMessage:
			data = chat.DataOf(&chat.UserMessage{
				ID: id, ConversationID: "ann", AcceptedAt: at, Locale: "nl", User: []byte(`{"firstName":"Ann"}`),
				Input: chat.Input{Kind: chat.InputText, Body: []byte(`{"text":"hi"}`)},
			}, true)
		case chat.EventOffload:
			data = chat.OffloadData{ConversationID: "ann", MessageID: id, Details: []byte(`{"queue":"sales"}`)}
		default:
			require.True(t, chat.Operational(event))
			data = chat.OperationalData{EndpointID: "crm", ConversationID: "ann", MessageID: id, Reason: "exhausted", Error: "HTTP 500"}
		}
		encoded, err := json.Marshal(data)
		require.NoError(t, err)
		m := r.message("ann", 1, func(m *chat.BotMessage) { m.Event, m.Message = event, encoded })
		require.Equal(t, "done", r.h.Handle(t.Context(), r.task(m, "desk", 1)).String())
		got := customer.All()[i]
		require.Empty(t, wrong(got.Header, string(got.Raw)), "%s", got.Raw)
		require.NotEmpty(t, wrong(got.Header, strings.Replace(string(got.Raw), `"type":"`+event, `"type":"typing`, 1)))
		before, _, _ := strings.Cut(string(got.Raw), `"data":`)
		require.NotEmpty(t, wrong(got.Header, before+`"data":{}}`))
	}
}
