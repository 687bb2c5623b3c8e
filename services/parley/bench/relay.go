package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"
)

// NewRelay is the bare relay: it posts each body to the target and answers 202
// when the target has taken it, else 502. Connections bounds those to the
// target.
func NewRelay(target string, connections int) http.Handler {
	client := newClient(connections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, fmt.Sprintf("reading the body: %v", err), http.StatusBadRequest)
			return
		}
		status, err := post(r, client, target, body)
		if err != nil || status != http.StatusOK {
			http.Error(w, fmt.Sprintf("the target answered %d: %v", status, err), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

func post(r *http.Request, client *http.Client, target string, body []byte) (status int, err error) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	return do(client, req)
}

// do sends a request and reads its answer away, so that the connection can be
// used again.
func do(client *http.Client, req *http.Request) (status int, err error) {
	return exchange(client, req, io.Discard)
}

// exchange sends a request and copies its answer's body.
func exchange(client *http.Client, req *http.Request, to io.Writer) (status int, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(to, io.LimitReader(resp.Body, maxBody)); err != nil {
		return resp.StatusCode, fmt.Errorf("reading the answer: %w", err)
	}
	return resp.StatusCode, nil
}

// requestTimeout bounds one request of the benchmark.
const requestTimeout = 30 * time.Second

func newClient(connections int) *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			MaxConnsPerHost:     connections,
			MaxIdleConns:        connections,
			MaxIdleConnsPerHost: connections,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
