package webhook

import (
	"sync"
	"time"
)

// idlePool keeps the connections to http endpoints that are not in use: by
// address the newest first, and all of them by age. One timer closes those that
// were not used for long.
type idlePool struct {
	timeout           time.Duration
	most, mostPerAddr int

	mu             sync.Mutex
	newest         map[string]*plainConn // by address
	oldest, latest *plainConn            // of all
	count          int
	closed         bool // until the next take
	timer          *time.Timer
	armed          bool
}

// idleConn is a connection's place in its pool.
type idleConn struct {
	since          time.Time
	below          *plainConn // the next older one of the address
	depth          int        // how many the address has, from this one on
	older, younger *plainConn // of all
}

// take returns the address's connection that was used last, if there is one
// that the endpoint has not closed.
func (p *idlePool) take(addr string) *plainConn {
	for {
		conn, fresh := p.pop(addr)
		if conn == nil || fresh && conn.usable() {
			return conn
		}
		_ = conn.Close()
	}
}

func (p *idlePool) pop(addr string) (conn *plainConn, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	conn = p.newest[addr]
	if conn == nil {
		return nil, false
	}
	p.setNewest(addr, conn.below)
	conn.below = nil
	p.unlink(conn)
	return conn, time.Since(conn.since) < p.timeout
}

// put keeps a connection, or closes it or the oldest if there are too many.
func (p *idlePool) put(conn *plainConn) {
	if drop := p.push(conn); drop != nil {
		_ = drop.Close()
	}
}

func (p *idlePool) push(conn *plainConn) (drop *plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	top := p.newest[conn.addr]
	depth := 1
	if top != nil {
		depth += top.depth
	}
	if p.closed || depth > p.mostPerAddr {
		return conn
	}
	conn.idleConn = idleConn{since: time.Now(), below: top, depth: depth, older: p.latest}
	p.newest[conn.addr] = conn
	if p.latest != nil {
		p.latest.younger = conn
	} else {
		p.oldest = conn
	}
	p.latest = conn
	p.count++
	if p.count > p.most {
		drop = p.dropOldest()
	}
	if !p.armed {
		p.armed = true
		p.arm(p.timeout)
	}
	return drop
}

func (p *idlePool) arm(after time.Duration) {
	if p.timer == nil {
		p.timer = time.AfterFunc(after, p.expire)
		return
	}
	p.timer.Reset(after)
}

// expire closes what was not used for the time-out, and comes again for what
// is left.
func (p *idlePool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	for p.oldest != nil {
		left := p.timeout - time.Since(p.oldest.since)
		if left > 0 {
			p.armed = true
			p.arm(left)
			return
		}
		_ = p.dropOldest().Close()
	}
}

// close closes all, and until the next take whatever is put.
func (p *idlePool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for p.oldest != nil {
		_ = p.dropOldest().Close()
	}
}

// dropOldest removes the oldest of all, which lies at the bottom of its
// address's.
func (p *idlePool) dropOldest() *plainConn {
	conn := p.oldest
	p.unlink(conn)
	above := p.newest[conn.addr]
	if above == conn {
		p.setNewest(conn.addr, nil)
		return conn
	}
	above.depth--
	for ; above.below != conn; above = above.below {
		above.below.depth--
	}
	above.below = nil
	return conn
}

func (p *idlePool) setNewest(addr string, conn *plainConn) {
	if conn == nil {
		delete(p.newest, addr)
		return
	}
	p.newest[addr] = conn
}

func (p *idlePool) unlink(conn *plainConn) {
	if conn.older != nil {
		conn.older.younger = conn.younger
	} else {
		p.oldest = conn.younger
	}
	if conn.younger != nil {
		conn.younger.older = conn.older
	} else {
		p.latest = conn.older
	}
	conn.older, conn.younger = nil, nil
	p.count--
}
