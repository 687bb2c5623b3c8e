package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleyhq/parley/pkg/chat"
)

type sendOptions struct {
	url, channel, token string
	conversation        string
	idempotencyKey      string
	locale              string
	sessionData         string
	postback            string
	asJSON              bool
}

func newSendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send [flags] TEXT",
		Short: "Post a user message to a channel",
		Long: "Post a user message to a channel and print the answer. TEXT is the text, or with --postback the title\n" +
			"of what was chosen, or with --json the contract's message object; \"-\" reads it from the standard input.",
		Example: "  parley send --channel shop --conversation anna \"a large pizza, please\"\n" +
			"  parley send --channel shop --conversation anna --postback '{\"nextDialogstateId\":\"order\"}' \"Order\"\n" +
			"  parley send --channel shop --conversation anna --json '{\"introMessage\":{}}'",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runSend(cmd, o, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "http://127.0.0.1:8080", "public API's `URL`")
	f.StringVar(&o.channel, "channel", "", "channel's `ID` (required)")
	f.StringVar(&o.token, "token", "", "access `TOKEN` of the channel")
	f.StringVar(&o.conversation, "conversation", "", "conversation's `ID` (required)")
	f.StringVar(&o.idempotencyKey, "idempotency-key", "", "`KEY` that makes a repeat answer the same")
	f.StringVar(&o.locale, "locale", "", "user's locale, such as nl-NL")
	f.StringVar(&o.sessionData, "session-data", "", "JSON `OBJECT` that is merged into the session")
	f.StringVar(&o.postback, "postback", "", "send a postback with this `PAYLOAD`, untouched; TEXT is its title")
	f.BoolVar(&o.asJSON, "json", false, "TEXT is the message object as JSON; the answer is printed as JSON")
	for _, name := range []string{"channel", "conversation"} {
		_ = cmd.MarkFlagRequired(name)
	}
	cmd.MarkFlagsMutuallyExclusive("postback", "json")
	markSecret(f, "token")
	return cmd
}

func runSend(cmd *cobra.Command, o sendOptions, text string) error {
	message, err := o.message(text, cmd.InOrStdin(), cmd.Flags().Changed("postback"))
	if err != nil {
		return err
	}
	api, err := newMessagesAPI(o.url, o.channel, chat.Secret(o.token))
	if err != nil {
		return err
	}
	answer, err := api.send(cmd.Context(), *message)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.asJSON {
		return json.NewEncoder(out).Encode(answer)
	}
	_, err = fmt.Fprintf(out, "accepted %s in conversation %s\n", answer.MessageID, printable(answer.ConversationID))
	return err
}

// message builds the request's body.
func (o sendOptions) message(text string, stdin io.Reader, postback bool) (*messageRequest, error) {
	if text == "-" {
		read, err := io.ReadAll(io.LimitReader(stdin, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("reading the standard input: %w", err)
		}
		text = strings.TrimRight(string(read), "\r\n")
	}
	m := &messageRequest{ConversationID: o.conversation, Locale: o.locale, idempotencyKey: o.idempotencyKey}
	if o.sessionData != "" {
		if !json.Valid([]byte(o.sessionData)) {
			return nil, errors.New("--session-data is not JSON")
		}
		m.SessionData = json.RawMessage(o.sessionData)
	}
	switch {
	case o.asJSON:
		if err := json.Unmarshal([]byte(text), &m.Message); err != nil {
			return nil, fmt.Errorf("the message is not a JSON object such as {\"textMessage\":{\"text\":\"hello\"}}: %w", err)
		}
	case postback:
		m.Message = map[chat.InputKind]any{chat.InputPostback: chat.PostbackInput{Title: text, Payload: o.postback}}
	default:
		m.Message = map[chat.InputKind]any{chat.InputText: chat.TextInput{Text: text}}
	}
	return m, nil
}
