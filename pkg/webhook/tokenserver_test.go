package webhook_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// logins is a token server on loopback, over TLS. It gives t1, t2 and so on.
type logins struct {
	*httptest.Server
	pem []byte // its certificate

	mu    sync.Mutex
	asked []*http.Request
}

// tokenServer starts a token server; a nil answer gives tokens.
func tokenServer(t *testing.T, answer http.HandlerFunc) *logins {
	t.Helper()
	l := &logins{}
	l.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer != nil {
			answer(w, r)
			return
		}
		_ = r.ParseForm() // what is missing is found missing
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked = append(l.asked, r)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, len(l.asked))
	}))
	l.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Certificate().Raw})
	t.Cleanup(l.Close)
	return l
}

// seen returns the requests so far.
func (l *logins) seen() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}
