package registry

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// reachPause is the pause before a leader that gave no answer is asked again.
const reachPause = time.Second

// Reach waits until the snapshot shows the revision that a message was stamped
// with. Where the leader itself has none as high, because the bucket was
// restored from an older copy, the revision will not come: Reach logs that once
// and returns, so that such a message doesn't hold up what stands behind it. It
// outlasts failures of the broker; its error is ctx's cause.
func (r *Registry) Reach(ctx context.Context, revision uint64) error {
	for r.Snapshot().revision < revision {
		s, err := r.CatchUp(ctx)
		if err == nil {
			if s.revision < revision && r.unreached.Swap(s.revision) != s.revision {
				r.log.Warn("messages were accepted under a later configuration than there is: was it restored from an older copy?",
					zap.Uint64("revision", s.revision), zap.Uint64("stamped", revision))
			}
			return nil
		}
		if ctx.Err() == nil {
			r.log.Warn("a message waits for the configuration", zap.Uint64("revision", revision), zap.Error(err))
		}
		select {
		case <-time.After(reachPause):
		case <-ctx.Done():
			return fmt.Errorf("waiting for configuration revision %d: %w", revision, context.Cause(ctx))
		}
	}
	return nil
}
