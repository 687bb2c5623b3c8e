package webhook

import (
	"context"
	"net"
	"slices"
	"sync"
)

// kept bounds the connections of all profiles together: each has a transport of
// its own, whose bounds know nothing of the others'. Where there are more than
// most, open ones that nobody uses are closed: those of the profiles first that
// were used longest ago.
type kept struct {
	most int

	mu   sync.Mutex
	open int        // connections, in use or not
	used []*Profile // that may have some, the one used last at the end
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// counted dials connections that count until they are closed.
func (k *kept) counted(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		k.add(1)
		k.shrink()
		return &countedConn{Conn: conn, closed: sync.OnceFunc(func() { k.add(-1) })}, nil
	}
}

// use notes that a profile is about to be used.
func (k *kept) use(p *Profile) {
	k.mu.Lock()
	if n := len(k.used); n > 0 && k.used[n-1] == p {
		k.mu.Unlock()
		return
	}
	k.used = append(slices.DeleteFunc(k.used, func(other *Profile) bool { return other == p }), p)
	k.mu.Unlock()
}

func (k *kept) add(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open += n
}

// shrink closes what profiles don't use, the one used longest ago first, until
// there are few enough, or all are in use.
func (k *kept) shrink() {
	for {
		k.mu.Lock()
		if len(k.used) == 0 || k.open <= k.most && len(k.used) <= k.most {
			k.mu.Unlock()
			return
		}
		oldest := k.used[0]
		k.used = slices.Delete(k.used, 0, 1)
		k.mu.Unlock()
		oldest.Close() // counts down
	}
}

// countedConn tells once of its end.
type countedConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
