package ops

import (
	"github.com/parleyhq/parley/pkg/registry"
)

// DefaultOwner is who manages what a file without an owner declares.
const DefaultOwner = "default"

// Declaration is a configuration as it should be. What is left out of an object
// has its default; but whether it is paused or disabled stays, and so do the
// signing secrets and keys that were made.
type Declaration struct {
	// Owner manages what is declared: only it changes and prunes that.
	Owner    string            `json:"owner,omitempty"`
	Bots     []Bot             `json:"bots,omitempty"`
	Channels []DeclaredChannel `json:"channels,omitempty"`
	Tokens   []DeclaredToken   `json:"tokens,omitempty"`
}

// DeclaredChannel is a channel with its endpoints.
type DeclaredChannel struct {
	Channel
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// DeclaredToken is an access token: of a channel, or of ops.
type DeclaredToken struct {
	ID string `json:"id"`
	// Value is the token in clear, pat_<id>_<secret>; without one the token that is
	// there stays, or one is made and shown once.
	Value     string `json:"value,omitempty"`
	ChannelID string `json:"channelId,omitempty"`
	Ops       bool   `json:"ops,omitempty"`
	Name      string `json:"name,omitempty"`
	Limit     string `json:"limit,omitempty"`
}

// Prune says what is deleted that isn't declared.
type Prune string

// What may be pruned: nothing, what the owner manages, or everything but the
// token that the request came with.
const (
	PruneNothing Prune = ""
	PruneOwned   Prune = "owned"
	PruneAll     Prune = "all"
)

// ApplyRequest asks for a declaration to be made true.
type ApplyRequest struct {
	Declaration
	Prune Prune `json:"prune,omitempty"`
	// TakeOver takes objects from other owners.
	TakeOver bool `json:"takeOver,omitempty"`
	DryRun   bool `json:"dryRun,omitempty"`
	// Plan is the Plan of a dry run: another one isn't carried out.
	Plan string `json:"plan,omitempty"`
	// Unseen says that nobody reads what was made: so no token may be.
	Unseen bool `json:"-"`
}

// Applied is a plan, and what became of it.
type Applied struct {
	Plan      string   `json:"plan"` // a hash of what would be changed, and of its revisions
	Owner     string   `json:"owner"`
	DryRun    bool     `json:"dryRun,omitempty"`
	Changes   []Change `json:"changes"` // in their order
	Unchanged int      `json:"unchanged"`
	Revision  uint64   `json:"revision"`
	// Error is why the changes from the first one on that isn't done were not made;
	// empty where all were.
	Error string `json:"error,omitempty"`

	conflict bool // something was changed between plan and change
}

// What a change does.
const (
	ChangeCreate = "create"
	ChangeUpdate = "update"
	ChangeDelete = "delete"
)

// Change is one object's.
type Change struct {
	Action string        `json:"action"`
	Kind   registry.Kind `json:"kind"`
	ID     string        `json:"id"`
	Fields []FieldChange `json:"fields,omitempty"`
	// Parked is how many messages wait for an endpoint that is deleted: they become
	// dead letters.
	Parked uint64 `json:"parked,omitempty"`
	Done   bool   `json:"done,omitempty"`
	// Secrets and Token are what was made, shown this once.
	Secrets []string `json:"secrets,omitempty"`
	Token   string   `json:"token,omitempty"`
}

// FieldChange is one setting's: empty where it isn't set. Of a secret nothing is
// shown but whether it is set; a long text is shown as its hash.
type FieldChange struct {
	Field  string `json:"field"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Secret bool   `json:"secret,omitempty"`
}
