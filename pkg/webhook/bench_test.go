package webhook

import (
	"bufio"
	"bytes"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// endpoint answers every POST on loopback with little work and no allocations
// of its own, so that what a benchmark counts is the client's.
func endpoint(b *testing.B) *url.URL {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { answer(conn) })
		}
	})
	b.Cleanup(func() {
		_ = listener.Close()
		serving.Wait() // the client's connections are closed by now
	})
	u, err := url.Parse("http://" + listener.Addr().String() + "/webhook")
	require.NoError(b, err)
	return u
}

func answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	length := []byte("Content-Length: ")
	reply := []byte("HTTP/1.1 200 OK\r\nDate: Tue, 28 Jul 2026 12:00:00 GMT\r\nContent-Length: 2\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nok")
	body := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if rest, ok := bytes.CutPrefix(line, length); ok {
			body = 0
			for _, c := range bytes.TrimSpace(rest) {
				body = 10*body + int(c-'0')
			}
		}
		if len(line) > 2 {
			continue
		}
		if _, err := r.Discard(body); err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// BenchmarkDo is one POST to an endpoint on loopback, while others are under
// way.
func BenchmarkDo(b *testing.B) {
	u := endpoint(b)
	c := loopbackClient(b)
	keys := []*Key{key(b, vectorSecret)}
	message := []byte(`{"text":"` + strings.Repeat("x", 200) + `"}`)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for n := uint64(1); pb.Next(); n++ {
			r := c.Do(b.Context(), Request{
				URL: u, Body: RenderBody("default-b94215f0-0c7e-11ea-9c43-7174cba76", "eenheeluniekeverifytoken", message, n, nil),
				MessageID: "msg_0cvs3mlk00g7e5q4u4g5qk3m4a0d6pb4i3v2n1c8m7r6s5t4", Keys: keys, Attempt: 1, Timeout: time.Minute,
			})
			if r.Status != 200 || string(r.Excerpt) != "ok" {
				b.Error(r.Status, r.Err)
				return
			}
		}
	})
}
