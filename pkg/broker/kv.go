package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// KV is a key-value bucket for values that only one process writes: its writes
// are plain publishes, which overlap, and carry no condition.
type KV struct {
	conn   *Conn
	bucket jetstream.KeyValue
	prefix string
}

// KV opens a bucket that exists.
func (c *Conn) KV(ctx context.Context, bucket string) (*KV, error) {
	kv, err := c.JS.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return &KV{conn: c, bucket: kv, prefix: "$KV." + bucket + "."}, nil
}

// Get returns the key's value; ok is false where there is none. On a replicated
// bucket it may lag behind a Put; on one server it doesn't. The error wraps
// ErrUnavailable unless the key can't be one.
func (k *KV) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	entry, err := k.bucket.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, false, nil
	case errors.Is(err, jetstream.ErrInvalidKey):
		return nil, false, fmt.Errorf("reading %s%s: %w", k.prefix, key, err)
	case err != nil:
		return nil, false, fmt.Errorf("reading %s%s: %w: %w", k.prefix, key, ErrUnavailable, err)
	}
	return entry.Value(), true, nil
}

// Put stores the value and returns when that is confirmed, with the errors of
// Publish; it is on disk later (see Message). A key has letters, digits and any of -_=/. in it.
func (k *KV) Put(ctx context.Context, key string, value []byte) error {
	if !validKey(key) {
		return fmt.Errorf("writing %s%s: %w", k.prefix, key, jetstream.ErrInvalidKey)
	}
	_, err := k.conn.Publish(ctx, Message{Subject: k.prefix + key, Data: value, Later: true})
	return err
}

// validKey is the rule of NATS: tokens of letters, digits and -_=/, with dots
// between them.
func validKey(key string) bool {
	previous := byte('.')
	for i := range len(key) {
		c := key[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '=', c == '/':
		case c == '.' && previous != '.':
		default:
			return false
		}
		previous = c
	}
	return previous != '.'
}
