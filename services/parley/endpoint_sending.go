package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleyhq/parley/services/ops"
)

// sendingFlags are what an endpoint or an http bot is signed, proved and
// connected to with.
type sendingFlags struct {
	v1a     bool
	headers []string
	auth    ops.Auth
	cert    string // files
	key, ca string
}

func (f *sendingFlags) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&f.v1a, "v1a", false, "sign with ed25519 too; show prints the public key")
	flags.StringArrayVar(&f.headers, "header", nil, "`NAME:VALUE` that is sent along; may be repeated; NAME: alone takes it away")
	flags.StringVar(&f.auth.Kind, "auth", "", "how Parley proves itself: none, basic, bearer or oauth2")
	markValues(flags, "auth", "none", "basic", "bearer", "oauth2")
	flags.StringVar(&f.auth.Username, "auth-username", "", "user `NAME` of basic")
	flags.StringVar(&f.auth.Password, "auth-password", "", "`PASSWORD` of basic")
	flags.StringVar(&f.auth.Token, "auth-token", "", "`TOKEN` of bearer")
	flags.StringVar(&f.auth.TokenURL, "auth-token-url", "", "`URL` of the token server of oauth2")
	flags.StringVar(&f.auth.ClientID, "auth-client-id", "", "client's `ID` of oauth2")
	flags.StringVar(&f.auth.ClientSecret, "auth-client-secret", "", "client's `SECRET` of oauth2")
	flags.StringSliceVar(&f.auth.Scopes, "auth-scope", nil, "`SCOPE` that is asked for in oauth2; may be repeated")
	flags.StringVar(&f.auth.Audience, "auth-audience", "", "`AUDIENCE` that is asked for in oauth2")
	flags.BoolVar(&f.auth.InBody, "auth-client-in-body", false, "send the client's id and secret of oauth2 in the body")
	flags.StringVar(&f.cert, "tls-cert", "", "`FILE` with the client certificate and its chain in PEM; empty: none")
	flags.StringVar(&f.key, "tls-key", "", "`FILE` with the client certificate's key in PEM")
	flags.StringVar(&f.ca, "tls-ca", "", "`FILE` with the authorities to trust, in PEM; empty: the system's")
	markSecret(flags, "auth-password", "auth-token", "auth-client-secret")
}

// change takes up the flags that were given.
func (f *sendingFlags) change(flags *pflag.FlagSet, s *ops.Sending) error {
	if flags.Changed("v1a") {
		s.V1A = f.v1a
	}
	for _, text := range f.headers {
		if err := changeHeader(s, text); err != nil {
			return err
		}
	}
	if err := f.changeAuth(flags, s); err != nil {
		return err
	}
	return f.changeTLS(flags, s)
}

func changeHeader(s *ops.Sending, text string) error {
	name, value, ok := strings.Cut(text, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" {
		return errors.New("--header is NAME:VALUE, such as X-Api-Key:abc")
	}
	if s.Headers == nil {
		s.Headers = map[string]string{}
	}
	maps.DeleteFunc(s.Headers, func(known, _ string) bool {
		return textproto.CanonicalMIMEHeaderKey(known) == textproto.CanonicalMIMEHeaderKey(name)
	})
	if value != "" {
		s.Headers[name] = value
	}
	return nil
}

func (f *sendingFlags) changeAuth(flags *pflag.FlagSet, s *ops.Sending) error {
	if flags.Changed("auth") {
		switch {
		case f.auth.Kind == "none":
			s.Auth = nil
		case s.Auth == nil || s.Auth.Kind != f.auth.Kind:
			s.Auth = &ops.Auth{Kind: f.auth.Kind}
		}
	}
	for name, set := range map[string]func(*ops.Auth){
		"auth-username":       func(a *ops.Auth) { a.Username = f.auth.Username },
		"auth-password":       func(a *ops.Auth) { a.Password = f.auth.Password },
		"auth-token":          func(a *ops.Auth) { a.Token = f.auth.Token },
		"auth-token-url":      func(a *ops.Auth) { a.TokenURL = f.auth.TokenURL },
		"auth-client-id":      func(a *ops.Auth) { a.ClientID = f.auth.ClientID },
		"auth-client-secret":  func(a *ops.Auth) { a.ClientSecret = f.auth.ClientSecret },
		"auth-scope":          func(a *ops.Auth) { a.Scopes = f.auth.Scopes },
		"auth-audience":       func(a *ops.Auth) { a.Audience = f.auth.Audience },
		"auth-client-in-body": func(a *ops.Auth) { a.InBody = f.auth.InBody },
	} {
		if !flags.Changed(name) {
			continue
		}
		if s.Auth == nil {
			return fmt.Errorf("--%s needs a kind of authentication: give --auth basic, bearer or oauth2", name)
		}
		set(s.Auth)
	}
	return nil
}

func (f *sendingFlags) changeTLS(flags *pflag.FlagSet, s *ops.Sending) error {
	t := ops.TLS{}
	if s.TLS != nil {
		t = *s.TLS
	}
	for _, file := range []struct {
		flag, path string
		to         *string
	}{{"tls-cert", f.cert, &t.ClientCert}, {"tls-key", f.key, &t.ClientKey}, {"tls-ca", f.ca, &t.CA}} {
		if !flags.Changed(file.flag) {
			continue
		}
		if *file.to = ""; file.path == "" {
			continue
		}
		text, err := os.ReadFile(file.path)
		if err != nil {
			return fmt.Errorf("--%s: %w", file.flag, err)
		}
		*file.to = string(text)
	}
	if t.ClientCert == "" && !flags.Changed("tls-key") {
		t.ClientKey = ""
	}
	if s.TLS = &t; t == (ops.TLS{}) {
		s.TLS = nil
	}
	return nil
}

// newRotate makes the command that rotates the secret of one of a collection,
// which is told by to.
func newRotate[T any](c *clientConfig, to, collection string, write func(io.Writer, T)) *cobra.Command {
	var in ops.RotateSecret
	cmd := &cobra.Command{
		Use: "rotate-secret ID", Short: "Make a new signing secret and show it, this once",
		Long: "Make a new signing secret and show it, this once. The former one signs beside it for the overlap, in which\n" +
			to + " takes up the new one, and then no more. With --overlap 0 only the new one signs from now on:\n" +
			"for a secret that leaked. Where --v1a is set the key is rotated too.",
		Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			return call(c, cmd, o, opsCall{method: http.MethodPost, path: collection + "/" + url.PathEscape(args[0]) + "/rotate-secret", body: in}, write)
		}),
	}
	cmd.Flags().StringVar(&in.Overlap, "overlap", "24h", "`TIME` that the former secret still signs; 0: not at all")
	return cmd
}

func newEndpointTest(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use: "test ID", Short: "Send a test message and show the answer; fails if it isn't a 2xx",
		Long: "Send one signed test message (parley-event: endpoint.test) and show the answer. It passes everything that\n" +
			"waits, reaches one that is disabled or paused too, and changes nothing, whatever is answered.",
		Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, o *opsClient, args []string) error {
			var r ops.TestResult
			if _, err := o.do(cmd.Context(), opsCall{method: http.MethodPost, path: endpointPath(args[0]) + "/test"}, &r); err != nil {
				return err
			}
			if err := show(c, cmd, r, printTestResult); err != nil {
				return err
			}
			if !r.Delivered {
				return errors.New("the test message was not delivered")
			}
			return nil
		}),
	}
}

func printTestResult(w io.Writer, r ops.TestResult) {
	field(w, "message", r.MessageID)
	field(w, "delivered", r.Delivered)
	if r.Status != 0 {
		field(w, "status", strings.TrimSpace(fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))))
	}
	field(w, "duration", time.Duration(r.DurationMS)*time.Millisecond)
	field(w, "error", r.Error)
	field(w, "answer", r.Excerpt)
}

func printSending(w io.Writer, s ops.Sending) {
	for _, secret := range s.Secrets {
		note := ""
		if secret != ops.Redacted {
			note = "  (keep it: it is not shown again)"
		}
		row(w, "signing secret", secret+note)
	}
	field(w, "public key", s.PublicKey)
	for _, r := range s.Retiring {
		row(w, "retiring", strings.TrimSpace(fmt.Sprintf("%s until %s %s", r.Version, when(r.Until), r.PublicKey)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		row(w, "header", name+": "+s.Headers[name])
	}
	if a := s.Auth; a != nil {
		field(w, "authentication", a.Kind)
		field(w, "user name", a.Username)
		field(w, "token server", a.TokenURL)
		field(w, "client id", a.ClientID)
		field(w, "scopes", strings.Join(a.Scopes, " "))
		field(w, "audience", a.Audience)
	}
	if t := s.TLS; t != nil {
		field(w, "client certificate", certificates(t.ClientCert, 1))
		field(w, "authorities", certificates(t.CA, 3))
	}
}

// certificates names the first certificates of a PEM text.
func certificates(text string, most int) string {
	var names []string
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(names) == most {
			names = append(names, "…")
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			names = append(names, "a certificate that can't be read")
			continue
		}
		names = append(names, fmt.Sprintf("%s, until %s", cert.Subject, cert.NotAfter.UTC().Format(time.DateOnly)))
	}
	return strings.Join(names, "; ")
}
