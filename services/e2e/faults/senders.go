package faults

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// senders tells which process has the other end of a connection on this
// machine, by what Linux says of sockets in /proc. Where it can't tell, who sent
// is not known.
type senders struct {
	mu        sync.Mutex
	processes map[int]string // the names of those that were started, by pid
	known     map[string]sender
}

type sender struct {
	name string
	at   time.Time
}

// senderKnown is how long an answer is good: a port may be another's later.
const senderKnown = time.Second

func newSenders() *senders {
	return &senders{processes: map[int]string{}, known: map[string]sender{}}
}

func (s *senders) started(pid int, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[pid] = name
}

// of names the process that has an address; empty where it is not known.
func (s *senders) of(remote string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if k, ok := s.known[remote]; ok && now.Sub(k.at) < senderKnown {
		return k.name
	}
	name := s.find(remote)
	s.known[remote] = sender{name, now}
	return name
}

func (s *senders) find(remote string) string {
	_, port, err := net.SplitHostPort(remote)
	if err != nil {
		return ""
	}
	inode := inodeOf(port)
	if inode == "" {
		return ""
	}
	for pid, name := range s.processes {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // none: it has ended
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && to == "socket:["+inode+"]" {
				return name
			}
		}
	}
	return ""
}

// inodeOf finds the socket on a local port in /proc/net/tcp, whose lines are
// "sl local remote state queues timer retransmits uid timeout inode …" (proc(5)).
func inodeOf(port string) string {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ""
	}
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	suffix := fmt.Sprintf(":%04X", n)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[9] != "0" {
			return fields[9]
		}
	}
	return ""
}
