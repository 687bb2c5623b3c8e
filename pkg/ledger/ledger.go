// Package ledger remembers how far each lane of the delivery stage is settled,
// so that a redelivery inside Parley never becomes a second POST.
//
// A lane is worked in order, so one small mark a lane decides for every
// redelivery: it is as large as the number of live lanes, not of messages. The
// mark is a cache of decisions: when the ledger is lost or fails, the pipeline
// goes on, at least once instead of once.
package ledger

import (
	"context"

	"github.com/parleyhq/parley/pkg/chat"
)

// Ledger keeps the marks. Implementations are safe for concurrent use and
// overlap concurrent calls (pipelines, batches); ledgertest holds the suite
// that each passes.
type Ledger interface {
	// Load returns the lane's mark; ok is false where there is none.
	Load(ctx context.Context, lane string) (mark chat.Ordinal, ok bool, err error)
	// Settle moves the lane's mark forward to at least mark, and returns when
	// it is stored. It never moves a mark back: a mark that already covers the
	// new one stays.
	Settle(ctx context.Context, lane string, mark chat.Ordinal) error
	// Ping reports why the ledger can't be used now.
	Ping(ctx context.Context) error
}
