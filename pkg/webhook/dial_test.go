package webhook_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/parleyhq/parley/pkg/webhook"
	"github.com/parleyhq/parley/pkg/webhook/webhooktest"
)

// names is a DNS server that gives every name the same addresses, and changes
// them when told.
type names struct {
	mu    sync.Mutex
	addrs []netip.Addr
	asked atomic.Int32
}

func (n *names) set(addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = nil
	for _, a := range addrs {
		n.addrs = append(n.addrs, netip.MustParseAddr(a))
	}
}

// resolveBy has names resolved by a server of the test, until its end.
func resolveBy(t *testing.T, addrs ...string) *names {
	t.Helper()
	n := &names{}
	n.set(addrs...)
	before := net.DefaultResolver
	var serving sync.WaitGroup
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		serving.Go(func() { n.serve(server) })
		return client, nil
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		serving.Wait()
	})
	return n
}

// serve answers the queries of one connection (RFC 1035, section 4; over a
// stream, with the length before each).
func (n *names) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := n.answer(query)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (n *names) answer(query []byte) []byte {
	const header, typeA, typeAAAA = 12, 1, 28
	end := header
	for query[end] != 0 { // the labels of the name
		end += int(query[end]) + 1
	}
	question := query[header : end+5]
	kind := binary.BigEndian.Uint16(query[end+1:])
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked.Add(1)
	var records []byte
	count := uint16(0)
	for _, a := range n.addrs {
		if a.Is4() != (kind == typeA) || kind != typeA && kind != typeAAAA {
			continue
		}
		records = append(records, 0xc0, header) // the question's name
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, not to be kept
		records = binary.BigEndian.AppendUint16(records, uint16(len(a.AsSlice())))
		records = append(records, a.AsSlice()...)
		count++
	}
	out := append([]byte{}, query[:2]...)
	out = append(out, 0x81, 0x80, 0, 1) // an answer, recursion done; one question
	out = binary.BigEndian.AppendUint16(out, count)
	out = append(out, 0, 0, 0, 0)
	return append(append(out, question...), records...)
}

// The address that a name has when it is dialled decides, whatever it had when
// the URL was set.
func TestDialGuardsANameThatChangesItsAddress(t *testing.T) {
	r := webhooktest.New(t)
	u := r.ParsedURL()
	u.Host = "customer.example:" + u.Port()
	dns := resolveBy(t, "127.0.0.1")
	c := newClient(t, func(o *webhook.Options) {
		o.Guard = &webhook.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, AnyPort: true}
		require.NoError(t, o.Guard.CheckURL(u.String()))
	})
	request := webhook.Request{URL: u, Body: []byte(`{}`), MessageID: "m", Attempt: 1}
	require.NoError(t, c.Do(t.Context(), request).Err)

	for _, to := range [][]string{{"127.0.0.2"}, {"169.254.169.254"}, {"::1"}, {"10.0.0.1", "127.0.0.3"}} {
		dns.set(to...)
		c.Close() // or the connection to the old address, which was checked, would be used
		asked := dns.asked.Load()
		result := c.Do(t.Context(), request)
		require.Equal(t, webhook.KindGuard, webhook.KindOf(result.Err), "%s: %v", to, result.Err)
		require.Greater(t, dns.asked.Load(), asked, "the name was resolved again")
	}
	require.Len(t, r.All(), 1)

	dns.set("10.0.0.1", "127.0.0.1")
	require.NoError(t, c.Do(t.Context(), request).Err, "of several addresses one that is allowed is used")
	require.Len(t, r.All(), 2)
}

// Whatever a name resolves to is judged; nothing of this is ever dialled.
func TestDialGuardsWhatANameResolvesTo(t *testing.T) {
	dns := resolveBy(t)
	c := newClient(t, func(o *webhook.Options) { o.Guard = nil })
	for addr, says := range map[string]string{
		"0.0.0.0": "unspecified", "127.0.0.1": "loopback", "10.1.2.3": "private", "172.31.255.255": "private", "192.168.0.1": "private",
		"100.64.0.1": "carrier-grade NAT", "169.254.169.254": "link-local", "168.63.129.16": "metadata", "192.0.0.192": "protocol assignment",
		"192.0.2.1": "documentation", "198.51.100.1": "documentation", "203.0.113.1": "documentation", "198.18.0.1": "benchmarking",
		"192.88.99.1": "6to4 relay", "224.0.0.1": "multicast", "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
		"::": "unspecified", "::1": "loopback", "fe80::1": "link-local", "fec0::1": "site-local", "fd00:ec2::254": "unique local", "ff02::1": "multicast",
		"2001:db8::1": "documentation", "3fff::1": "documentation", "100::1": "outside 2000::/3", "5f00::1": "outside 2000::/3",
		"::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "link-local", "::ffff:0:127.0.0.1": "outside 2000::/3", "::127.0.0.1": "IPv4-compatible",
		"64:ff9b::10.0.0.1": "private", "64:ff9b::169.254.169.254": "link-local", "64:ff9b:1::10.0.0.1": "local NAT64",
		"2002:a00:1::1": "6to4", "2002:808:808::1": "6to4", "2001:0:808:808::f5ff:fffe": "Teredo", "2001:10::1": "protocol assignment",
	} {
		dns.set(addr)
		for _, scheme := range []string{"http", "https"} {
			u := &url.URL{Scheme: scheme, Host: "customer.example"}
			result := c.Do(t.Context(), webhook.Request{URL: u, MessageID: "m", Attempt: 1})
			require.Equal(t, webhook.KindGuard, webhook.KindOf(result.Err), "%s: %v", addr, result.Err)
			require.ErrorIs(t, result.Err, webhook.ErrForbidden)
			require.ErrorContains(t, result.Err, says, addr)
		}
	}
}

// A URL that was never checked is still stopped where it is dialled: numbers are
// names to the resolver, or addresses to one that is lenient.
func TestDialGuardsHostsThatAreNumbers(t *testing.T) {
	resolveBy(t, "127.0.0.1") // as a lenient resolver reads them
	c := newClient(t, func(o *webhook.Options) { o.Guard = nil })
	for _, host := range []string{
		"2130706433", "017700000001", "0x7f000001", "0X7F.0.0.1", "127.1", "0177.0.0.1", "127.0.0.1", "127.0.0.1.",
		"[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25lo]", "[::1%25lo]", "localhost",
	} {
		u, err := url.Parse("http://" + host + ":8080/")
		require.NoError(t, err)
		require.ErrorIs(t, new(webhook.Guard).CheckURL(u.String()), webhook.ErrForbidden, host)
		result := c.Do(t.Context(), webhook.Request{URL: u, MessageID: "m", Attempt: 1})
		// Go's resolver takes numbers alone for no name.
		require.Contains(t, []webhook.Kind{webhook.KindGuard, webhook.KindDNS}, webhook.KindOf(result.Err), "%s: %v", host, result.Err)
	}
}

// proxyURL is set for the whole package, since net/http reads the environment
// once.
const proxyURL = "http://127.0.0.1:1"

func setProxies() {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		_ = os.Setenv(name, proxyURL)
	}
	_ = os.Unsetenv("NO_PROXY")
	_ = os.Unsetenv("no_proxy")
}

// A proxy in the environment would dial where the guard cannot see.
func TestDoIgnoresAProxyInTheEnvironment(t *testing.T) {
	resolveBy(t, "127.0.0.1")
	certificate, pool := certificateFor(t, "customer.example")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	r := webhooktest.New(t)
	c := newClient(t, func(o *webhook.Options) { o.RootCAs = pool })
	for _, base := range []string{r.URL(), server.URL} {
		u := parsed(t, base)
		u.Host = "customer.example:" + u.Port() // net/http never takes a proxy to loopback
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
		require.NoError(t, err)
		require.Equal(t, proxyURL, proxy.String(), "the environment is as it should not matter")
		require.NoError(t, c.Do(t.Context(), webhook.Request{URL: u, MessageID: "m", Attempt: 1}).Err)
	}
}

// Two hosts at one address, with one certificate for both, could share an HTTP/2
// connection (RFC 9113, section 9.1.1). Then the second would be reached without
// having been looked up and checked.
func TestDoSharesNoHTTP2ConnectionBetweenHosts(t *testing.T) {
	dns := resolveBy(t, "127.0.0.1")
	certificate, pool := certificateFor(t, "one.example", "two.example")
	var mu sync.Mutex
	hosts := map[string]map[string]bool{} // by connection
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if hosts[r.RemoteAddr] == nil {
			hosts[r.RemoteAddr] = map[string]bool{}
		}
		hosts[r.RemoteAddr][r.Proto+" "+r.Host] = true
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	c := newClient(t, func(o *webhook.Options) { o.RootCAs = pool })
	at := func(name string) webhook.Request {
		u := parsed(t, server.URL)
		u.Host = name + ":" + u.Port()
		return webhook.Request{URL: u, Body: []byte(`{}`), MessageID: "m", Attempt: 1}
	}
	for range 3 {
		require.NoError(t, c.Do(t.Context(), at("one.example")).Err)
		require.NoError(t, c.Do(t.Context(), at("two.example")).Err)
	}
	require.Len(t, hosts, 2, "a connection for each host")
	for _, seen := range hosts {
		require.Len(t, seen, 1)
		for host := range seen {
			require.Contains(t, host, "HTTP/2.0 ")
		}
	}

	dns.set("10.0.0.1")
	result := c.Do(t.Context(), at("three.example"))
	require.Equal(t, webhook.KindGuard, webhook.KindOf(result.Err), "%v", result.Err)
}

// certificateFor makes a certificate for names, and the pool that trusts it.
func certificateFor(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}
