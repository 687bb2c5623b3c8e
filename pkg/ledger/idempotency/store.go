package idempotency

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrUnavailable means that Redis can't be used now; nothing is known of the
// key.
var ErrUnavailable = errors.New("the store of idempotency keys does not answer")

// State is what is known of a key.
type State int

// The states that Begin returns.
const (
	// Claimed: the key was free and is the caller's now.
	Claimed State = iota
	// InProgress: another request with the same body holds the key.
	InProgress
	// Done: a request with the same body was answered.
	Done
	// Mismatch: the key was used with another body.
	Mismatch
)

// How long things are kept and waited for.
const (
	doneTTL    = 24 * time.Hour
	claimTTL   = 30 * time.Second // longer than any request may take to be accepted
	callLimit  = 500 * time.Millisecond
	retryAfter = time.Second // after a failure
)

// Claim is a held key.
type Claim struct{ key, owner string }

// Store is the keys in Redis. It is safe for concurrent use.
type Store struct {
	redis     redis.Scripter
	now       func() time.Time
	downUntil atomic.Int64 // Unix nanoseconds
}

// New makes a store on a client, which stays the caller's to close.
func New(client redis.Scripter) *Store {
	return &Store{redis: client, now: time.Now}
}

// A key's hash holds the body's hash, the claim's owner while it is under way,
// and done afterwards.
var (
	beginScript = redis.NewScript(`
local v = redis.call('HMGET', KEYS[1], 'body', 'done')
if v[1] then
  if v[1] ~= ARGV[1] then return 3 end
  if v[2] then return 2 end
  return 1
end
redis.call('HSET', KEYS[1], 'body', ARGV[1], 'owner', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0`)
	finishScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'owner')
redis.call('HSET', KEYS[1], 'done', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)
	releaseScript = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// Begin claims a channel's key for a request with this body (its SHA-256). The
// claim is valid when the state is Claimed, and must be finished or released.
func (s *Store) Begin(ctx context.Context, channelID, key string, body [sha256.Size]byte) (State, Claim, error) {
	owner := rand.Text()
	claim := Claim{key: redisKey(channelID, key), owner: owner}
	n, err := s.run(ctx, beginScript, claim.key, hex.EncodeToString(body[:]), owner, claimTTL.Milliseconds())
	if err != nil {
		return 0, Claim{}, err
	}
	if n < int(Claimed) || n > int(Mismatch) {
		return 0, Claim{}, fmt.Errorf("%w: unknown state %d", ErrUnavailable, n)
	}
	return State(n), claim, nil
}

// Finish marks the claimed key as done for a day. A claim that has expired
// meanwhile is left alone.
func (s *Store) Finish(ctx context.Context, c Claim) error {
	_, err := s.run(ctx, finishScript, c.key, c.owner, doneTTL.Milliseconds())
	return err
}

// Release frees the claimed key. A claim that has expired meanwhile is left
// alone.
func (s *Store) Release(ctx context.Context, c Claim) error {
	_, err := s.run(ctx, releaseScript, c.key, c.owner)
	return err
}

func (s *Store) run(ctx context.Context, script *redis.Script, key string, args ...any) (int, error) {
	if s.now().UnixNano() < s.downUntil.Load() {
		return 0, ErrUnavailable
	}
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	n, err := script.Run(limited, s.redis, []string{key}, args...).Int()
	if err != nil {
		if ctx.Err() != nil { // the caller gave up, which says nothing of Redis
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
		s.downUntil.Store(s.now().Add(retryAfter).UnixNano())
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return n, nil
}

// redisKey hashes the client's key: it is of any length up to 255 and may hold
// what Redis Cluster reads as a hash tag.
func redisKey(channelID, key string) string {
	sum := sha256.Sum256([]byte(key))
	return "parley:idempotency:" + channelID + ":" + hex.EncodeToString(sum[:16])
}
