package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/webhook"
)

// delivery is one bot message as a customer's endpoint gets it.
type delivery struct {
	ID             string // webhook-id
	ConversationID string
	Counter        uint64
	Message        chat.Message
	Intent         string
	Verified       bool // the signature was checked and right
	Attempt        string
	Replay         string
}

// customerEndpoint is a customer's webhook endpoint: it checks the signature
// and the verify token, hands the message on and answers.
type customerEndpoint struct {
	// verify checks the signature; nil leaves it unchecked.
	verify func(header http.Header, body []byte) error
	// verifyToken must stand in each body, unless it is empty.
	verifyToken chat.Secret
	// status, if not nil, says what to answer to a good delivery; else 200.
	status func() int
	// accept gets each delivery that is good, before it is answered.
	accept func(*delivery) error
	// refused gets why a request was turned down.
	refused func(reason string)
}

// maxDelivery bounds a delivery's body, in bytes.
const maxDelivery = 1 << 20

// handler routes /livez and, for every other path, deliveries.
func (c *customerEndpoint) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/", c.serve)
	return mux
}

func (c *customerEndpoint) serve(w http.ResponseWriter, r *http.Request) {
	d, status, err := c.read(w, r)
	if err == nil {
		if err = c.accept(d); err != nil {
			status = http.StatusInternalServerError
		}
	}
	if err != nil {
		c.refused(fmt.Sprintf("%s %s answered %d: %v", r.Method, r.URL.Path, status, err))
		http.Error(w, err.Error(), status)
		return
	}
	if c.status != nil {
		status = c.status()
	}
	w.WriteHeader(status)
}

// read checks a request. On an error the status says what to answer.
func (c *customerEndpoint) read(w http.ResponseWriter, r *http.Request) (*delivery, int, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("bot messages are POSTed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDelivery))
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err)
	}
	return c.check(r.Header, body)
}

// check reads a delivery, as read does.
func (c *customerEndpoint) check(header http.Header, body []byte) (*delivery, int, error) {
	if c.verify != nil {
		if err := c.verify(header, body); err != nil {
			return nil, http.StatusUnauthorized, fmt.Errorf("the signature is wrong: %w", err)
		}
	}
	var in struct {
		Recipient struct {
			ID string `json:"id"`
		} `json:"recipient"`
		VerifyToken    string       `json:"verifyToken"`
		Message        chat.Message `json:"message"`
		MessageCounter uint64       `json:"messageCounter"`
		NLP            *chat.NLP    `json:"nlp"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("the body is no bot message: %w", err)
	}
	if c.verifyToken != "" && in.VerifyToken != c.verifyToken.Reveal() {
		return nil, http.StatusUnauthorized, errors.New("the verify token is not the one that was agreed")
	}
	d := &delivery{
		ID:             header.Get(webhook.HeaderID),
		ConversationID: in.Recipient.ID,
		Counter:        in.MessageCounter,
		Message:        in.Message,
		Verified:       c.verify != nil,
		Attempt:        header.Get("Parley-Attempt"),
		Replay:         header.Get("Parley-Replay"),
	}
	if in.NLP != nil {
		d.Intent = in.NLP.Intent.Name
	}
	return d, http.StatusOK, nil
}

// signatureCheck checks deliveries against signing secrets (Standard
// Webhooks); it is nil without any.
func signatureCheck(secrets []chat.Secret) (func(http.Header, []byte) error, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	keys, err := webhook.ParseSecrets(secrets)
	if err != nil {
		return nil, err
	}
	return func(header http.Header, body []byte) error {
		return webhook.Verify(keys, header, body, time.Now(), 0)
	}, nil
}
