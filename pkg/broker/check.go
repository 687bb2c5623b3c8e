package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The least version of a server outside: key TTLs and atomic batches are from
// then.
const (
	minMajor = 2
	minMinor = 12
)

// maxSkew is how far this machine's clock may be from the server's: leases and
// ages are reckoned with both.
const maxSkew = 3 * time.Second

// Check reports why this server can't be used: it is too old, or its clock and
// this machine's differ. The stream is any that exists.
func (c *Conn) Check(ctx context.Context, stream string) error {
	if err := c.CheckVersion(); err != nil {
		return err
	}
	skew, err := c.Skew(ctx, stream)
	if err != nil {
		return err
	}
	return checkSkew(skew)
}

// Skew asks by how much, at least, this machine's clock and the server's differ,
// above 0 where the server's is ahead. The stream is any that exists.
func (c *Conn) Skew(ctx context.Context, stream string) (time.Duration, error) {
	s, err := c.JS.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	before := time.Now()
	info, err := s.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return skewOf(info, before, time.Now()), nil
}

// CheckVersion reports a server that is too old.
func (c *Conn) CheckVersion() error { return checkVersion(c.NATS.ConnectedServerVersion()) }

func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) == 3 {
		major, err1 := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && (major > minMajor || major == minMajor && minor >= minMinor) {
			return nil
		}
	}
	return fmt.Errorf("the NATS server has version %q: Parley needs %d.%d or later", version, minMajor, minMinor)
}

// skewOf takes the server's time to lie between asking and answer.
func skewOf(info *jetstream.StreamInfo, before, after time.Time) time.Duration {
	switch at := info.TimeStamp; {
	case at.IsZero():
	case at.Before(before):
		return at.Sub(before)
	case at.After(after):
		return at.Sub(after)
	}
	return 0
}

func checkSkew(skew time.Duration) error {
	if skew = skew.Abs(); skew > maxSkew {
		return fmt.Errorf("this machine's clock and the NATS server's differ by %s: synchronise them (NTP); at most %s will do", skew.Round(time.Millisecond), maxSkew)
	}
	return nil
}
