package ledger

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
)

// call is one Load or Settle on its way to Redis.
type call struct {
	lane      string
	settle    string // the mark to settle; empty to load
	abandoned <-chan struct{}
	answer    chan answer // of capacity 1
}

type answer struct {
	value string
	ok    bool
	err   error
}

// settle is Advance, in Lua: KEYS[1] is the lane, ARGV the new mark and the TTL
// in ms. What is no mark counts as none.
var settle = redis.NewScript(`
local new = ARGV[1]
local old = redis.call('GET', KEYS[1])
if old and #old == 48 then
  local place, input = string.sub(old, 1, 32), string.sub(old, 33)
  local newplace, newinput = string.sub(new, 1, 32), string.sub(new, 33)
  if newplace <= place and newinput <= input then
    return 0
  end
  if newplace >= place and newinput < input then
    new = newplace .. input
  end
end
redis.call('SET', KEYS[1], new, 'PX', ARGV[2])
return 1
`)

// collect sends pipelines: each takes what is queued when the one before it is
// answered, and waits for no more.
func (r *Redis) collect() {
	batch := make([]*call, 0, pipelineSize)
	for {
		batch = batch[:0]
		select {
		case c := <-r.queue:
			batch = append(batch, c)
		case <-r.closed:
			return
		}
		runtime.Gosched() // who is about to call may do so first
		for more := true; more && len(batch) < pipelineSize; {
			select {
			case c := <-r.queue:
				batch = append(batch, c)
			default:
				more = false
			}
		}
		r.send(batch)
	}
}

func (r *Redis) send(batch []*call) {
	live := batch[:0]
	for _, c := range batch {
		select {
		case <-c.abandoned:
		default:
			live = append(live, c)
		}
	}
	if len(live) == 0 {
		return
	}
	if err := r.missed(time.Now()); err != nil {
		for _, c := range live {
			c.answer <- answer{err: err}
		}
		return
	}
	// The callers have contexts of their own; the pipeline serves them all.
	ctx, cancel := context.WithTimeoutCause(context.Background(), r.options.Timeout, errTimeout)
	defer cancel()
	unknown := r.exec(ctx, live, settle.EvalSha)
	if len(unknown) > 0 {
		// A server that started since, or a new node of a cluster.
		r.exec(ctx, unknown, settle.Eval)
	}
}

// noScript begins the answer of a server that doesn't know a script.
const noScript = "NOSCRIPT"

type eval func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

// exec sends one pipeline and answers its calls, but for those whose script the
// server doesn't know: these it returns.
func (r *Redis) exec(ctx context.Context, batch []*call, run eval) (unknown []*call) {
	pipe := r.client.Pipeline()
	cmds := make([]redis.Cmder, len(batch))
	ttl := r.options.TTL.Milliseconds()
	for i, c := range batch {
		key := "parley:ledger:{" + c.lane + "}"
		if c.settle == "" {
			cmds[i] = pipe.Get(ctx, key)
		} else {
			cmds[i] = run(ctx, pipe, []string{key}, c.settle, ttl)
		}
	}
	// Each command has its own error, which says more than that of all.
	_, _ = pipe.Exec(ctx)
	var gone error
	answered := false
	answers := make([]answer, len(batch))
	for i := range batch {
		err := cmds[i].Err()
		switch {
		case isAnswer(err), redis.HasErrorPrefix(err, noScript):
			answered = true
		default:
			err = causeOf(ctx, err)
			gone = err
		}
		answers[i] = answerOf(cmds[i], err)
	}
	// While one node of a cluster answers, the others' lanes are still asked for.
	if answered {
		gone = nil
	}
	r.heard(gone) // before anybody calls again who has an answer
	for i, c := range batch {
		if redis.HasErrorPrefix(cmds[i].Err(), noScript) {
			unknown = append(unknown, c)
		} else {
			c.answer <- answers[i]
		}
	}
	return unknown
}

func answerOf(cmd redis.Cmder, err error) answer {
	if errors.Is(err, redis.Nil) {
		return answer{}
	}
	if err != nil {
		return answer{err: err}
	}
	if get, ok := cmd.(*redis.StringCmd); ok {
		return answer{value: get.Val(), ok: true}
	}
	return answer{ok: true}
}

// isAnswer tells what Redis said, be it an error, from not having heard of it.
func isAnswer(err error) bool {
	var said redis.Error
	return err == nil || errors.As(err, &said)
}
