package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/parleyhq/parley/pkg/chat"
)

// Profile is how an endpoint is connected to that has a client certificate or
// authorities of its own. Its connections are kept apart from all others: one
// that was opened with a certificate must serve no other endpoint.
type Profile struct {
	config *tls.Config

	mu   sync.Mutex
	made *http.Transport // at the first use
}

// sessions is how many TLS sessions a profile keeps: its endpoint's and its
// token server's.
const sessions = 4

// NewProfile makes a profile of an endpoint's TLS settings; nil for none.
func NewProfile(t *chat.TLS) (*Profile, error) {
	if t == nil {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(sessions)}
	if t.ClientCert != "" || t.ClientKey != "" {
		cert, err := tls.X509KeyPair([]byte(t.ClientCert), []byte(t.ClientKey.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("the client certificate and its key: %w", err)
		}
		// Also to a server that does not name the certificate's authority: its
		// refusal says more than a certificate that was never sent.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	if t.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("the CA holds no certificate in PEM")
		}
	}
	return &Profile{config: config}, nil
}

// Close drops the connections that are not in use. Attempts under way go on.
func (p *Profile) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made != nil {
		p.made.CloseIdleConnections()
	}
}

// over returns the profile's own transport, which is like another but for TLS.
func (p *Profile) over(base *http.Transport) *http.Transport {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		config := p.config
		if config.RootCAs == nil && base.TLSClientConfig != nil {
			config.RootCAs = base.TLSClientConfig.RootCAs
		}
		p.made = base.Clone()
		p.made.TLSClientConfig = config
	}
	return p.made
}

// transportOf returns what a request goes over.
func (c *Client) transportOf(r *Request) *http.Transport {
	if r.Profile == nil {
		return c.transport
	}
	return r.Profile.over(c.transport)
}
