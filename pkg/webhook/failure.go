package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// Kind says what broke; its values may be labels of metrics.
type Kind string

// The kinds of failure.
const (
	KindTimeout     Kind = "timeout"     // the attempt's, the connect's or the TLS handshake's
	KindDNS         Kind = "dns"         // the name has no address
	KindRefused     Kind = "refused"     // nobody listens
	KindReset       Kind = "reset"       // the connection ended without an answer
	KindTLS         Kind = "tls"         // handshake or certificate
	KindGuard       Kind = "guard"       // the address is not allowed
	KindNetwork     Kind = "network"     // no route, or another error of the network
	KindProtocol    Kind = "protocol"    // what came back is not HTTP, or too large
	KindAuth        Kind = "auth"        // the token server gave no token
	KindRequest     Kind = "request"     // the request could not be made
	KindInterrupted Kind = "interrupted" // our own side ended the attempt: it says nothing of the endpoint
)

// Failure is why an attempt has no answer.
type Failure struct {
	Kind Kind
	Err  error
}

// Error returns the kind and the reason, without the URL.
func (f *Failure) Error() string { return string(f.Kind) + ": " + f.Err.Error() }

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }

// KindOf returns a failure's kind; "" if err is none.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return ""
}

// describe makes a *Failure of an error of net/http. limited is the attempt's
// context, which ends with caller's or with its own time-out.
func describe(caller, limited context.Context, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if caller.Err() != nil {
		return &Failure{KindInterrupted, fmt.Errorf("the attempt was ended by this side: %w", context.Cause(caller))}
	}
	if limited.Err() != nil {
		return &Failure{KindTimeout, context.Cause(limited)}
	}
	for _, known := range []func(error) *Failure{guardFailure, dnsFailure, tlsFailure, timeoutFailure, networkFailure} {
		if f := known(err); f != nil {
			return f
		}
	}
	return &Failure{KindProtocol, err}
}

func guardFailure(err error) *Failure {
	if errors.Is(err, ErrForbidden) {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return &Failure{KindGuard, err}
	}
	return nil
}

func dnsFailure(err error) *Failure {
	d, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return nil
	case d.IsTimeout:
		return &Failure{KindTimeout, fmt.Errorf("resolving %s took too long: %w", d.Name, err)}
	}
	return &Failure{KindDNS, fmt.Errorf("%s has no address: %s", d.Name, d.Err)}
}

func tlsFailure(err error) *Failure {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Failure{KindTLS, errors.New("the endpoint does not speak TLS on this port; is the URL's scheme http?")}
	}
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	if verify || host || alert || isOp && (op.Op == "remote error" || op.Op == "local error") {
		return &Failure{KindTLS, err}
	}
	return nil
}

func timeoutFailure(err error) *Failure {
	t, ok := errors.AsType[net.Error](err)
	if !ok || !t.Timeout() {
		return nil
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &Failure{KindTimeout, fmt.Errorf("no connection in time: %w", err)}
	}
	return &Failure{KindTimeout, err}
}

func networkFailure(err error) *Failure {
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Failure{KindRefused, err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, errStreamReset):
		return &Failure{KindReset, err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Failure{KindReset, fmt.Errorf("the endpoint closed the connection before its answer was complete: %w", err)}
	case isOp && op.Op != "dial":
		return &Failure{KindReset, err}
	case isOp:
		return &Failure{KindNetwork, err}
	case endedByText(err.Error()):
		return &Failure{KindReset, err}
	}
	return nil
}

// endedByText knows the ends of a connection or stream for which net/http
// exports no error.
func endedByText(text string) bool {
	return strings.Contains(text, "server closed idle connection") ||
		strings.HasPrefix(text, "stream error:") ||
		strings.HasPrefix(text, "http2: ")
}
