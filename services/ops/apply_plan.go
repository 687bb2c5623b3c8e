package ops

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parleyhq/parley/pkg/chat"
	"github.com/parleyhq/parley/pkg/registry"
)

// plan is what makes a declaration true, against one snapshot.
type plan struct {
	service *Service
	request *ApplyRequest
	caller  string // the id of the token that asks
	now     *registry.Snapshot
	wrong   chat.Problems

	steps     []step
	unchanged int
	declared  map[registry.Kind]map[string]bool
	dropped   map[registry.Kind]map[string]bool
}

// step is one change, and how it is made against the record's revision.
type step struct {
	Change
	Revision registry.Expect
	run      func(ctx context.Context, c *Change, at registry.Expect) (audited, error)
}

// newPlan compares all of the request with a snapshot. Its error has everything
// that is wrong with the request, and then nothing may be changed.
func (s *Service) newPlan(r *ApplyRequest, caller string, now *registry.Snapshot) (*plan, error) {
	p := &plan{
		service: s, request: r, caller: caller, now: now,
		declared: map[registry.Kind]map[string]bool{}, dropped: map[registry.Kind]map[string]bool{},
	}
	for _, kind := range []registry.Kind{registry.KindBot, registry.KindChannel, registry.KindEndpoint, registry.KindToken} {
		p.declared[kind], p.dropped[kind] = map[string]bool{}, map[string]bool{}
	}
	r.Owner = cmp.Or(r.Owner, DefaultOwner)
	if err := chat.ValidateID("owner", r.Owner); err != nil {
		p.wrong.Add("/owner", err.Error())
	}
	if !slices.Contains([]Prune{PruneNothing, PruneOwned, PruneAll}, r.Prune) {
		p.wrong.Add("/prune", fmt.Sprintf("%q can't be pruned: use owned or all, or leave it out", r.Prune))
	}
	p.declare()
	p.prune()
	// What is used is made before its users, and deleted after them.
	for i := range r.Bots {
		p.bot(fmt.Sprintf("/bots/%d", i), &r.Bots[i])
	}
	for i := range r.Channels {
		p.channel(fmt.Sprintf("/channels/%d", i), &r.Channels[i].Channel)
	}
	for i := range r.Channels {
		for j := range r.Channels[i].Endpoints {
			p.endpoint(fmt.Sprintf("/channels/%d/endpoints/%d", i, j), r.Channels[i].ID, &r.Channels[i].Endpoints[j])
		}
	}
	for i := range r.Tokens {
		p.token(fmt.Sprintf("/tokens/%d", i), &r.Tokens[i])
	}
	p.deletions()
	return p, p.wrong.Err()
}

// declare notes which objects there are to be, each once.
func (p *plan) declare() {
	note := func(kind registry.Kind, id, at string) {
		if id != "" && p.declared[kind][id] {
			p.wrong.Add(at+"/id", fmt.Sprintf("%s %q is declared twice: leave one out", kind, id))
		}
		p.declared[kind][id] = true
	}
	for i, b := range p.request.Bots {
		note(registry.KindBot, b.ID, fmt.Sprintf("/bots/%d", i))
	}
	for i, c := range p.request.Channels {
		note(registry.KindChannel, c.ID, fmt.Sprintf("/channels/%d", i))
		for j, e := range c.Endpoints {
			note(registry.KindEndpoint, e.ID, fmt.Sprintf("/channels/%d/endpoints/%d", i, j))
		}
	}
	for i, t := range p.request.Tokens {
		note(registry.KindToken, t.ID, fmt.Sprintf("/tokens/%d", i))
	}
}

// prune notes what is to go.
func (p *plan) prune() {
	drop := func(kind registry.Kind, id, owner string) {
		owned := p.request.Prune == PruneOwned && owner == p.request.Owner
		if !p.declared[kind][id] && (owned || p.request.Prune == PruneAll) && (kind != registry.KindToken || id != p.caller) {
			p.dropped[kind][id] = true
		}
	}
	for _, b := range p.now.Bots() {
		drop(registry.KindBot, b.ID, b.ManagedBy)
	}
	for _, c := range p.now.Channels() {
		drop(registry.KindChannel, c.ID, c.ManagedBy)
	}
	for _, e := range p.now.Endpoints() {
		drop(registry.KindEndpoint, e.ID, e.ManagedBy)
	}
	for _, t := range p.now.Tokens() {
		drop(registry.KindToken, t.ID, t.ManagedBy)
	}
}

func (p *plan) bot(at string, in *Bot) {
	b, err := in.domain(nil)
	p.note(at, err)
	b.ManagedBy = p.request.Owner
	old, exists := p.now.Bot(in.ID)
	if exists {
		p.owned(at, old.ManagedBy)
		b.Paused = old.Paused
		if old.Kind == b.Kind {
			in.keepMade(&b.Sending, &old.Sending)
		}
	}
	if err == nil {
		p.note(at, p.service.Registry.CheckBot(&b))
	}
	addChange(p, registry.KindBot, b.ID, old, &b, func(ctx context.Context, c *Change, at registry.Expect) (audited, error) {
		stored, revision, err := p.service.Registry.PutBot(ctx, b, at)
		c.made(&b.Sending, &stored.Sending)
		return botOf(&stored, revision), err
	})
}

func (p *plan) channel(at string, in *Channel) {
	c := chat.Channel{
		ID: in.ID, BotID: in.BotID, Name: in.Name, ManagedBy: p.request.Owner,
		Limit: rate(&p.wrong, at+"/limit", in.Limit), ConversationLimit: rate(&p.wrong, at+"/conversationLimit", in.ConversationLimit),
	}
	old, exists := p.now.Channel(in.ID)
	if exists {
		p.owned(at, old.ManagedBy)
		c.Paused = old.Paused
	}
	p.note(at, registry.ValidateChannel(&c))
	if _, there := p.now.Bot(c.BotID); c.BotID != "" && !p.stays(registry.KindBot, c.BotID, there) {
		p.wrong.Add(at+"/botId", fmt.Sprintf("there is no bot %q: declare it, or name another", c.BotID))
	}
	addChange(p, registry.KindChannel, c.ID, old, &c, func(ctx context.Context, _ *Change, at registry.Expect) (audited, error) {
		revision, err := p.service.Registry.PutChannel(ctx, c, at)
		return channelOf(&c, revision), err
	})
}

func (p *plan) endpoint(at, channel string, in *Endpoint) {
	e, err := in.domain(nil)
	p.note(at, err)
	e.ChannelID, e.ManagedBy = channel, p.request.Owner
	old, exists := p.now.Endpoint(in.ID)
	if exists {
		p.owned(at, old.ManagedBy)
		e.Paused, e.Disabled = old.Paused, old.Disabled
		in.keepMade(&e.Sending, &old.Sending)
		if old.ChannelID != channel {
			p.wrong.Add(at+"/id", registry.OtherChannel(old.ChannelID))
		}
	}
	if err == nil {
		p.note(at, p.service.Registry.CheckEndpoint(&e))
	}
	addChange(p, registry.KindEndpoint, e.ID, old, &e, func(ctx context.Context, c *Change, at registry.Expect) (audited, error) {
		stored, revision, err := p.service.Registry.PutEndpoint(ctx, e, at)
		c.made(&e.Sending, &stored.Sending)
		return endpointOf(&stored, revision), err
	})
}

func (p *plan) token(at string, in *DeclaredToken) {
	t := chat.Token{
		ID: in.ID, ChannelID: in.ChannelID, Ops: in.Ops, Name: in.Name, ManagedBy: p.request.Owner,
		Limit: rate(&p.wrong, at+"/limit", in.Limit), CreatedAt: p.service.Now().UTC(),
	}
	if strings.Contains(in.ID, "_") {
		p.wrong.Add(at+"/id", "a token's id has no underscore: use - instead")
	}
	if t.Limit != nil && in.Ops {
		p.wrong.Add(at+"/limit", opsTokenLimit)
	}
	clear := ""
	old, exists := p.now.Token(in.ID)
	if exists {
		p.owned(at, old.ManagedBy)
		t.CreatedAt, t.Hash = old.CreatedAt, old.Hash
	}
	switch {
	case in.Value != "":
		hash, err := registry.HashToken(in.ID, in.Value)
		if err != nil {
			p.wrong.Add(at+"/value", err.Error())
		}
		t.Hash = hash
	case !exists && p.request.Unseen:
		p.wrong.Add(at+"/value", "the value is missing, and nobody would see one that is made: give it from a file or the environment")
	case !exists:
		var made chat.Token
		clear, made = registry.NewTokenOf(in.ID, in.ChannelID, in.Name, p.service.Now())
		t.Hash, t.CreatedAt = made.Hash, made.CreatedAt
	}
	p.note(at, p.service.Registry.CheckToken(&t))
	if _, there := p.now.Channel(t.ChannelID); t.ChannelID != "" && !p.stays(registry.KindChannel, t.ChannelID, there) {
		p.wrong.Add(at+"/channelId", fmt.Sprintf("there is no channel %q: declare it, or name another", t.ChannelID))
	}
	addChange(p, registry.KindToken, t.ID, old, &t, func(ctx context.Context, c *Change, at registry.Expect) (audited, error) {
		revision, err := p.service.Registry.PutToken(ctx, t, at)
		if err == nil {
			c.Token = clear
		}
		return tokenOf(&t, revision), err
	})
}

// deletions checks that nothing that stays uses what goes.
func (p *plan) deletions() {
	r := p.service.Registry
	for _, e := range p.now.Endpoints() {
		p.drop(registry.KindEndpoint, e.ID, r.DeleteEndpoint)
		if p.dropped[registry.KindChannel][e.ChannelID] && !p.dropped[registry.KindEndpoint][e.ID] && !p.declared[registry.KindEndpoint][e.ID] {
			p.wrong.Add("", fmt.Sprintf("channel %q is not declared and can't be pruned: endpoint %q is not managed by %s; delete that first, or declare the channel", e.ChannelID, e.ID, p.request.Owner))
		}
	}
	for _, t := range p.now.Tokens() {
		p.drop(registry.KindToken, t.ID, r.DeleteToken)
		if p.dropped[registry.KindChannel][t.ChannelID] && !p.dropped[registry.KindToken][t.ID] && !p.declared[registry.KindToken][t.ID] {
			p.wrong.Add("", fmt.Sprintf("channel %q is not declared and can't be pruned: token %q is not managed by %s; delete that first, or declare the channel", t.ChannelID, t.ID, p.request.Owner))
		}
	}
	for _, c := range p.now.Channels() {
		p.drop(registry.KindChannel, c.ID, r.DeleteChannel)
		if p.dropped[registry.KindBot][c.BotID] && !p.dropped[registry.KindChannel][c.ID] && !p.declared[registry.KindChannel][c.ID] {
			p.wrong.Add("", fmt.Sprintf("bot %q is not declared and can't be pruned: channel %q uses it and is not managed by %s; change that first, or declare the bot", c.BotID, c.ID, p.request.Owner))
		}
	}
	for _, b := range p.now.Bots() {
		p.drop(registry.KindBot, b.ID, r.DeleteBot)
	}
}

func (p *plan) drop(kind registry.Kind, id string, del func(context.Context, string, registry.Expect) (uint64, error)) {
	if !p.dropped[kind][id] {
		return
	}
	revision, _ := p.now.RecordRevision(kind, id)
	p.steps = append(p.steps, step{
		Change: Change{Action: ChangeDelete, Kind: kind, ID: id}, Revision: registry.Expect(revision),
		run: func(ctx context.Context, c *Change, at registry.Expect) (audited, error) {
			revision, err := del(ctx, id, at)
			return Deleted{ID: c.ID, Revision: revision}, err
		},
	})
}

// addChange adds the step that makes a record what it should be, where it isn't.
func addChange[T any](p *plan, kind registry.Kind, id string, from, to *T, run func(context.Context, *Change, registry.Expect) (audited, error)) {
	found := difference(from, to)
	if from != nil && len(found) == 0 {
		p.unchanged++
		return
	}
	revision, exists := p.now.RecordRevision(kind, id)
	s := step{Change: Change{Action: ChangeCreate, Kind: kind, ID: id, Fields: found}, run: run}
	if exists {
		s.Action, s.Revision = ChangeUpdate, registry.Expect(revision)
	}
	p.steps = append(p.steps, s)
}

// stays reports whether there will be such an object.
func (p *plan) stays(kind registry.Kind, id string, there bool) bool {
	return p.declared[kind][id] || there && !p.dropped[kind][id]
}

// owned refuses what another owner manages.
func (p *plan) owned(at, owner string) {
	if owner != "" && owner != p.request.Owner && !p.request.TakeOver {
		p.wrong.Add(at+"/id", fmt.Sprintf("it is managed by %q: change it there, or take it over", owner))
	}
}

// note takes up what is wrong with an object.
func (p *plan) note(at string, err error) {
	for _, problem := range problemsOf(err) {
		p.wrong.Add(at+problem.Pointer, problem.Detail)
	}
}

// fingerprint tells plans apart: by what they change, and from which revisions.
func (p *plan) fingerprint() (string, error) {
	text, err := json.Marshal(struct {
		Owner string
		Steps []step
	}{p.request.Owner, p.steps})
	if err != nil {
		return "", fmt.Errorf("the plan: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), nil
}

// keepMade keeps of the former settings what was made and isn't declared: signing
// secrets and keys, with those before them that still sign.
func (in *Sending) keepMade(s, old *chat.Sending) {
	s.Retiring = old.Retiring
	if len(in.Secrets) == 0 {
		s.Secrets = old.Secrets
	} else if !slices.Equal(s.Secrets, old.Secrets) {
		s.DropRetiring(chat.PrefixSecret)
	}
	switch {
	case !in.V1A:
		s.DropRetiring(chat.PrefixSigningKey)
	case old.SigningKey != "":
		s.SigningKey = old.SigningKey
	}
}

// made notes the signing secrets that were made when the object was stored.
func (c *Change) made(given, stored *chat.Sending) {
	if len(given.Secrets) > 0 {
		return
	}
	for _, secret := range stored.Secrets {
		c.Secrets = append(c.Secrets, secret.Reveal())
	}
}

func problemsOf(err error) []chat.Problem {
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[*chat.ValidationError](err); ok {
		return invalid.Problems
	}
	return []chat.Problem{{Detail: err.Error()}}
}
