package webhooktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// WithTLSConfig is WithTLS with settings of the test's own, such as those of an
// [Authority].
func WithTLSConfig(c *tls.Config) Option {
	return func(r *Receiver) { r.tls, r.tlsConfig = true, c }
}

// Authority issues certificates for tests.
type Authority struct {
	tb   failer
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// failer is what an Authority needs of a testing.TB.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// NewAuthority makes an authority of the test's own.
func NewAuthority(tb failer) *Authority {
	tb.Helper()
	a := &Authority{tb: tb}
	template := a.template("test authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.key = a.newKey()
	a.cert = template
	der, certPEM := a.sign(template, a.key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("webhooktest: %v", err)
	}
	a.cert, a.pem = cert, certPEM
	return a
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() string { return a.pem }

// Pool returns a pool that holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue makes a certificate for a name and loopback, for servers and clients,
// and returns it and its key in PEM.
func (a *Authority) Issue(name string) (certPEM, keyPEM string) {
	a.tb.Helper()
	template := a.template(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	key := a.newKey()
	_, certPEM = a.sign(template, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.tb.Fatalf("webhooktest: %v", err)
	}
	return certPEM, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// ServerConfig returns a server's TLS settings with a certificate of the
// authority; with clients set it asks for one of that authority's.
func (a *Authority) ServerConfig(clients *Authority) *tls.Config {
	a.tb.Helper()
	cert, err := tls.X509KeyPair(a.pair("server.test"))
	if err != nil {
		a.tb.Fatalf("webhooktest: %v", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	return config
}

func (a *Authority) pair(name string) (cert, key []byte) {
	certPEM, keyPEM := a.Issue(name)
	return []byte(certPEM), []byte(keyPEM)
}

func (a *Authority) template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.tb.Fatalf("webhooktest: %v", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatalf("webhooktest: %v", err)
	}
	return key
}

func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) (der []byte, certPEM string) {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.tb.Fatalf("webhooktest: %v", err)
	}
	return der, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
