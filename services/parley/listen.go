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
}

func newListenCommand() *cobra.Command {
	var o listenOptions
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Be a customer's endpoint: verify and print what is delivered",
		Long: "Be a customer's endpoint: verify and print what is delivered, and answer 200. Every path takes\n" +
			"deliveries, but GET /livez, which answers 200. With --fail-rate that share of the deliveries is\n" +
			"answered with --status instead; --status alone fails them all.",
		Args: cobra.NoArgs,
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
	srv, err := httpserver.New(httpserver.Options{Addr: o.addr}, endpoint.handler(), zap.NewNop())
	if err != nil {
		return fmt.Errorf("--addr: %w", err)
	}
	if err := out.Note("listening at http://" + srv.Addr() + ", Ctrl-C ends it"); err != nil {
		return err
	}
	if verify == nil {
		if err := out.Note("signatures are not checked: give --signing-secret whsec_…"); err != nil {
			return err
		}
	}
	return srv.Run(cmd.Context())
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
