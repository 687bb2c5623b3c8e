package ledger

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Client is a connection to Redis or to a Redis Cluster.
type Client = redis.UniversalClient

// Connect makes a client for a URL such as "redis://user:password@host:6379/0"
// ("rediss:" for TLS). A URL with further hosts, as in
// "redis://host1:6379?addr=host2:6379", is that of a Redis Cluster. The client
// connects when it is first used, gives up in time and tries nothing twice: the
// ledger can do without an answer sooner than without time.
func Connect(rawURL string) (Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the Redis URL can't be read: write it like redis://host:6379/0")
	}
	if u.Query().Has("addr") {
		o, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, fmt.Errorf("the Redis URL of %s: %w", u.Host, err)
		}
		o.ContextTimeoutEnabled = true
		o.DialTimeout, o.DialerRetries = dialTimeout, 1
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the Redis URL of %s: %w", u.Host, err)
	}
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.DialerRetries, o.MaxRetries = dialTimeout, 1, -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// CheckURL reports a URL that Connect can't read.
func CheckURL(rawURL string) error {
	client, err := Connect(rawURL)
	if err != nil {
		return err
	}
	return client.Close()
}

const dialTimeout = 500 * time.Millisecond

// probeKey is written to see whether Redis takes writes.
const probeKey = "parley:probe"

// CheckWritable reports why Redis can't be used now: it doesn't answer, or it
// refuses writes, as one does that is out of memory or a replica.
func CheckWritable(ctx context.Context, client Client) error {
	if err := client.Set(ctx, probeKey, "", time.Minute).Err(); err != nil {
		return fmt.Errorf("writing to Redis: %w", err)
	}
	return nil
}
