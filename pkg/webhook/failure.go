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

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		KindTimeout, KindDNS, KindRefused, KindReset, KindTLS, KindGuard, KindNetwork, KindProtocol, KindAuth, KindRequest, KindInterrupted,
	}
}

// Failure is why an attempt has no answer.
type Failure struct {
	Kind Kind
	Err  error
}

// maxReason bounds a failure's text, in bytes: what an endpoint sends is quoted
// in it, and every name of its certificate.
const maxReason = 300

// Error returns the kind and the reason, without the URL.
func (f *Failure) Error() string {
	text := string(f.Kind) + ": " + f.Err.Error()
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

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
	if strings.HasPrefix(err.Error(), "net/http: invalid header field") {
		return &Failure{KindRequest, err}
	}
	return &Failure{KindProtocol, notHTTP(err)}
}

// notHTTP says what is wrong with an answer that is none. The second text is
// all that net/http says of header fields which go on over HTTP/2.
func notHTTP(err error) error {
	text := strings.TrimPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: ")
	switch {
	case errors.Is(err, errHeaderTooLarge), strings.Contains(text, "server response headers exceeded"), strings.Contains(text, "response header list larger"):
		return fmt.Errorf("the answer's header fields are larger than %d KiB", maxResponseHeader>>10)
	case strings.HasPrefix(text, "connection error: "):
		return fmt.Errorf("the answer is not HTTP/2, or its header fields are larger than %d KiB: %s", maxResponseHeader>>10, text)
	}
	return fmt.Errorf("the answer is not HTTP: %s", text)
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
	if strings.Contains(err.Error(), "TLS handshake") {
		return &Failure{KindTimeout, fmt.Errorf("the endpoint took the connection and did not finish: %w", err)}
	}
	return &Failure{KindTimeout, err}
}

func networkFailure(err error) *Failure {
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Failure{KindRefused, err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Failure{KindReset, ended{"the endpoint reset the connection before its answer was complete", err}}
	case errors.Is(err, errStreamReset):
		return &Failure{KindReset, err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Failure{KindReset, ended{"the endpoint closed the connection before its answer was complete", err}}
	case isOp && op.Op != "dial":
		return &Failure{KindReset, err}
	case isOp:
		return &Failure{KindNetwork, err}
	}
	return endedByText(err)
}

// ended is an error with a text of its own: that of the network has this side's
// port, which makes every one different.
type ended struct {
	text string
	err  error
}

func (e ended) Error() string { return e.text }

func (e ended) Unwrap() error { return e.err }

// endedByText knows the ends of a connection or stream for which net/http
// exports no error.
func endedByText(err error) *Failure {
	text := err.Error()
	if rest, ok := strings.CutSuffix(text, "; received from peer"); ok && strings.HasPrefix(text, "stream error:") {
		code := rest[strings.LastIndexByte(rest, ' ')+1:]
		return &Failure{KindReset, ended{"the endpoint reset the HTTP/2 stream before its answer was complete: " + code, err}}
	}
	for _, end := range []string{
		"server closed idle connection", "GOAWAY", "http2: client conn", "http2: stream closed", "http2: response body closed",
	} {
		if strings.Contains(text, end) {
			return &Failure{KindReset, err}
		}
	}
	return nil
}
