package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// Access is how a process and a server outside prove themselves to each other,
// beside what the URL says. Its members are files; they are read at each
// connection, so that renewed ones are taken up.
type Access struct {
	Credentials string // a user's JWT and seed (.creds)
	Authorities string // to trust, in PEM; empty: the system's
	Cert, Key   string // the client certificate, in PEM
}

// Validate reports the first file that can't be used.
func (a Access) Validate() error {
	if a.Credentials != "" {
		if _, err := os.ReadFile(a.Credentials); err != nil {
			return fmt.Errorf("the credentials: %w", err)
		}
	}
	if a.Authorities != "" {
		text, err := os.ReadFile(a.Authorities)
		if err != nil {
			return fmt.Errorf("the authorities: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate: give it the authorities in PEM", a.Authorities)
		}
	}
	if (a.Cert == "") != (a.Key == "") {
		return errors.New("a client certificate has two files: give its certificate and its key, or neither")
	}
	if a.Cert != "" {
		if _, err := tls.LoadX509KeyPair(a.Cert, a.Key); err != nil {
			return fmt.Errorf("the client certificate: %w", err)
		}
	}
	return nil
}

// Connect dials a server outside, as [Connect] does.
func (a Access) Connect(urls, name string, log *zap.Logger) (*Conn, error) {
	hosts, err := hostsOf(urls)
	if err != nil {
		return nil, err
	}
	if err := a.Validate(); err != nil {
		return nil, err
	}
	var opts []nats.Option
	if a.Credentials != "" {
		opts = append(opts, nats.UserCredentials(a.Credentials))
	}
	if a.Authorities != "" {
		opts = append(opts, nats.RootCAs(a.Authorities))
	}
	if a.Cert != "" {
		opts = append(opts, nats.ClientCert(a.Cert, a.Key))
	}
	conn, err := dial(urls, name, log, nil, opts...)
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", hosts, err)
	}
	return conn, nil
}
