package topology

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ReadUsage asks how full each stream and bucket of a layout is, by the stream's
// name: one question for all. What others have in the same account is left out.
func ReadUsage(ctx context.Context, js jetstream.JetStream, l Layout) (map[string]Usage, error) {
	known := map[string]bool{}
	for _, s := range l.Streams() {
		known[s.Name] = true
	}
	for _, b := range l.Buckets() {
		known[BucketStream(b.Bucket)] = true
	}
	all := map[string]Usage{}
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		if known[info.Config.Name] {
			all[info.Config.Name] = usage(info)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("listing the streams: %w", err)
	}
	return all, nil
}
