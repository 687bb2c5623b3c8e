package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parleyhq/parley/pkg/topology"
)

// errConflict means that the key's last revision is not the expected one.
var errConflict = errors.New("another revision is there")

// opTimeout bounds one question to the broker.
const opTimeout = 2 * time.Second

// bucket is a key-value bucket with what jetstream.KeyValue doesn't offer:
// reads at the leader (its Get may lag on a replica), and writes that have a
// condition and an age at once.
//
// The age of a value is whole seconds, one at least (nats-server 2.15 cuts
// fractions off), and begins anew with every write. A value was found to go 0
// to 0.2 s after its age, never before. A write that expects the revision of a
// value that has gone fails.
type bucket struct {
	js   jetstream.JetStream
	name string
	kv   jetstream.KeyValue
}

func openBucket(ctx context.Context, js jetstream.JetStream, name string) (*bucket, error) {
	kv, err := js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return &bucket{js: js, name: name, kv: kv}, nil
}

// stored is a key's last value as the leader knows it. The zero value: there is
// none, or not any more.
type stored struct {
	value    []byte
	revision uint64 // also that of a marker of a value that has gone
	gone     bool   // a marker says so
}

// read asks the leader.
func (b *bucket) read(ctx context.Context, key string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": topology.KeySubject(b.name, key)})
	if err != nil {
		return stored{}, fmt.Errorf("reading %s in bucket %s: %w", key, b.name, err)
	}
	answer, err := b.js.Conn().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+topology.BucketStream(b.name), request)
	if err != nil {
		return stored{}, fmt.Errorf("reading %s in bucket %s: %w", key, b.name, err)
	}
	s, err := parseStored(answer.Data)
	if err != nil {
		return stored{}, fmt.Errorf("reading %s in bucket %s: %w", key, b.name, err)
	}
	return s, nil
}

func parseStored(data []byte) (stored, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq    uint64 `json:"seq"`
			Header []byte `json:"hdrs"`
			Data   []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return stored{}, err
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return stored{}, nil
		}
		return stored{}, answer.Error
	}
	s := stored{value: answer.Message.Data, revision: answer.Message.Seq}
	if len(answer.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(answer.Message.Header)
		if err != nil {
			return stored{}, err
		}
		s.gone = header.Get(topology.HeaderKVOperation) != "" || header.Get(jetstream.MarkerReasonHeader) != ""
	}
	return s, nil
}

// write stores a value over the expected revision (0: there is none, nor a
// marker) and returns the new one. An age of 0 means for ever. After an error
// other than errConflict the value may or may not be stored.
func (b *bucket) write(ctx context.Context, key string, record any, expected uint64, age time.Duration) (uint64, error) {
	value, err := encode(record)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(expected)}
	if age > 0 {
		opts = append(opts, jetstream.WithMsgTTL(age))
	}
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: topology.KeySubject(b.name, key), Data: value}, opts...)
	if err != nil {
		// Code 10164, of replicated streams, is no conflict but "try again".
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			err = errors.Join(errConflict, err)
		}
		return 0, fmt.Errorf("writing %s in bucket %s: %w", key, b.name, err)
	}
	return ack.Sequence, nil
}

// markerAge is how long it stays written that a member key has gone.
const markerAge = time.Minute

// remove deletes a key, whatever its revision.
func (b *bucket) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if err := b.kv.Purge(ctx, key, jetstream.PurgeTTL(markerAge)); err != nil {
		return fmt.Errorf("deleting %s in bucket %s: %w", key, b.name, err)
	}
	return nil
}

// seal makes sure that a key that was never seen again is not there, and never
// will be: a read that finds nothing may come from a leader that lags, a
// conditional write does not. It fails with errConflict when the key is there.
func (b *bucket) seal(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	marker := nats.NewMsg(topology.KeySubject(b.name, key))
	marker.Header.Set(topology.HeaderKVOperation, topology.KVDelete)
	_, err := b.js.PublishMsg(ctx, marker, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgTTL(markerAge))
	if err != nil {
		return fmt.Errorf("sealing %s in bucket %s: %w", key, b.name, err)
	}
	return nil
}
