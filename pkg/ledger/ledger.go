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
