package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/httpserver"
)

type listenOptions struct {
	addr        string
	secrets     []string
	verifyToken string
	status      int
	failRate    float64
	script      string
}

// listenScript is --script in the help. docs/delivery.md has the whole.
const listenScript = `With --script the answers come from a file (YAML or JSON): a list of steps, each for the next
delivery, for so many (times), or for ever, and 200 after the last. A step is a status, a fault,
or both with more:

  each: conversation         # every conversation goes through the steps by itself
  steps:
    - status: 503
      retry-after: 2s        # or retry-after-date: 2s
      times: 3               # or forever
    - reset
    - conversation: anna     # only for this one
      fault: hang
    - redirect: http://169.254.169.254/
    - {fault: die, down: 10s}

The fields: status, header, header-bytes, body, body-bytes, retry-after, retry-after-date,
redirect, delay (before the header fields), trickle (between the bytes of the body), fault, down,
times, conversation. The faults: hang, close, close-in-header, close-in-body, reset, reset-in-body,
endless-header, endless-body, not-http, hold-handshake (takes a connection and says nothing), die
(answers, then closes all and refuses, for the time down). A delivery that is refused for its
signature or verify token takes no step.`

func newListenCommand() *cobra.Command {
	var o listenOptions
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Be a customer's endpoint: verify and print what is delivered",
		Long: "Be a customer's endpoint: verify and print what is delivered, and answer 200. Every path takes\n" +
			"deliveries, but GET /livez, which answers 200. With --fail-rate that share of the deliveries is\n" +
			"answered with --status instead; --status alone fails them all.\n\n" + listenScript,
		Example: "  parley listen --signing-secret whsec_… --script outage.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("status") && !cmd.Flags().Changed("fail-rate") {
				o.failRate = 1
			}
			return runListen(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:9000", "`ADDRESS` to listen at")
	f.StringSliceVar(&o.secrets, "signing-secret", nil, "signing secret `whsec_…`, or public key whpk_…; more than one during a rotation")
	f.StringVar(&o.verifyToken, "verify-token", "", "`TOKEN` that each body must have")
	f.IntVar(&o.status, "status", http.StatusInternalServerError, "HTTP status of a failing answer")
	f.Float64Var(&o.failRate, "fail-rate", 0, "share of deliveries that fail, 0 to 1")
	f.StringVar(&o.script, "script", "", "`FILE` that says how to answer, also as a broken endpoint does")
	cmd.MarkFlagsMutuallyExclusive("script", "status")
	cmd.MarkFlagsMutuallyExclusive("script", "fail-rate")
	markSecret(f, "signing-secret", "verify-token")
	return cmd
}

func (o listenOptions) validate() error {
	if o.failRate < 0 || o.failRate > 1 {
		return fmt.Errorf("--fail-rate is %g: it is a share from 0 to 1", o.failRate)
	}
	if o.status < 200 || o.status > 599 {
		return fmt.Errorf("--status is %d: it is an HTTP status from 200 to 599", o.status)
	}
	return nil
}

func runListen(cmd *cobra.Command, o listenOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	secrets := make([]chat.Secret, len(o.secrets))
	for i, s := range o.secrets {
		secrets[i] = chat.Secret(s)
	}
	verify, err := signatureCheck(secrets)
	if err != nil {
		return fmt.Errorf("--signing-secret: %w", err)
	}
	out := newTranscript(cmd.OutOrStdout())
	endpoint := &customerEndpoint{
		verify:      verify,
		verifyToken: chat.Secret(o.verifyToken),
		status:      o.answer(out, rand.Float64),
		accept:      out.Bot,
		refused:     func(reason string) { _ = out.Refused(reason) },
	}
	if o.script != "" {
		return o.runScript(cmd.Context(), endpoint, out)
	}
	srv, err := httpserver.New(httpserver.Options{Addr: o.addr}, endpoint.handler(), zap.NewNop())
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	if err := listening(out, srv.Addr(), endpoint); err != nil {
		return err
	}
	return srv.Run(cmd.Context())
}

func listening(out *transcript, addr string, endpoint *customerEndpoint) error {
	if err := out.Note("listening at http://" + addr + ", Ctrl-C ends it"); err != nil || endpoint.verify != nil {
		return err
	}
	return out.Note("signatures are not checked: give --signing-secret whsec_…")
}

// answer says what a delivery is answered; random returns a number in [0, 1).
func (o listenOptions) answer(out *transcript, random func() float64) func() int {
	return func() int {
		if random() >= o.failRate {
			return http.StatusOK
		}
		_ = out.Note(fmt.Sprintf("answered %d, as --status and --fail-rate say", o.status))
		return o.status
	}
}
