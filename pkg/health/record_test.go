package health

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReconcile(t *testing.T) {
	const s = time.Second
	open := Record{
		Open: true, At: after(10 * s), Openings: 2, NextProbe: after(12 * s),
		FailingSince: epoch, Failures: 11, LastFailure: after(10 * s), Warned: after(9 * s),
	}
	agreed := local{Status: Status{
		State: Open, Since: after(10 * s), Openings: 2, NextProbe: after(12 * s),
		FailingSince: epoch, Failures: 11, LastFailure: after(10 * s),
	}}
	with := func(r Record, change func(*Record)) *Record {
		change(&r)
		return &r
	}
	for name, test := range map[string]struct {
		record Record
		change func(*local)
		want   *Record // nil: there is nothing to write
	}{
		"they agree":     {record: open},
		"nothing at all": {change: func(l *local) { *l = local{} }},
		"the record is later": {record: open, change: func(l *local) {
			l.Since, l.State = after(9*s), Closed
		}},
		"it has closed": {record: open, change: func(l *local) {
			*l = local{Status: Status{Since: after(11 * s), LastSuccess: after(11 * s), LastFailure: after(10 * s)}}
		}, want: &Record{At: after(11 * s), LastSuccess: after(11 * s), LastFailure: after(10 * s)}},
		"it has opened once more": {record: open, change: func(l *local) {
			l.Since, l.Openings, l.NextProbe, l.Failures, l.LastFailure = after(13*s), 3, after(17*s), 12, after(13*s)
		}, want: with(open, func(r *Record) {
			r.At, r.Openings, r.NextProbe, r.Failures, r.LastFailure = after(13*s), 3, after(17*s), 12, after(13*s)
		})},
		"it fails for longer than the record knew": {record: open, change: func(l *local) {
			l.Since, l.FailingSince = after(13*s), epoch.Add(-s)
		}, want: with(open, func(r *Record) { r.At, r.FailingSince, r.Warned = after(13*s), epoch.Add(-s), time.Time{} })},
		"it has just begun to fail here": {record: open, change: func(l *local) {
			l.Since, l.FailingSince, l.Failures = after(13*s), after(12*s), 1
		}, want: with(open, func(r *Record) { r.At = after(13 * s) })},
		"there was a success in between": {record: open, change: func(l *local) {
			l.Since, l.LastSuccess, l.FailingSince, l.Failures = after(13*s), after(11*s), after(12*s), 1
		}, want: with(open, func(r *Record) {
			r.At, r.LastSuccess, r.FailingSince, r.Failures, r.Warned = after(13*s), after(11*s), after(12*s), 1, time.Time{}
		})},
		"a success, and nothing since": {record: open, change: func(l *local) {
			l.Since, l.LastSuccess, l.FailingSince, l.Failures = after(13*s), after(14*s), time.Time{}, 0
		}, want: with(open, func(r *Record) {
			r.At, r.LastSuccess, r.FailingSince, r.Failures, r.Warned = after(13*s), after(14*s), after(13*s), 0, time.Time{}
		})},
		"the first to open": {record: Record{}, want: with(open, func(r *Record) { r.Warned = time.Time{} })},
		"opened, and the probe is under way": {record: Record{}, change: func(l *local) { l.State, l.mine = HalfOpen, true }, want: with(open, func(r *Record) {
			r.Warned, r.Probe = time.Time{}, "me"
		})},
		"a success here that the record doesn't know": {record: open, change: func(l *local) { l.LastSuccess = after(s) }, want: with(open, func(r *Record) {
			r.LastSuccess = after(s)
		})},
		"an older success":                 {record: open, change: func(l *local) { l.LastSuccess = epoch }},
		"somebody's probe":                 {record: *with(open, func(r *Record) { r.Probe = "you" })},
		"my probe":                         {record: *with(open, func(r *Record) { r.Probe = "me" }), change: func(l *local) { l.mine = true }},
		"my probe, which was interrupted":  {record: *with(open, func(r *Record) { r.Probe, r.NextProbe = "me", after(60*s) }), want: &open},
		"closed, and a success since then": {record: Record{At: after(20 * s)}, change: func(l *local) { l.LastSuccess = after(30 * s) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := agreed
			if test.change != nil {
				test.change(&l)
			}
			got, write := reconcile(test.record, l, "me")
			require.Equal(t, test.want != nil, write)
			if write {
				require.Equal(t, *test.want, got)
				_, again := reconcile(got, l, "me")
				require.False(t, again, "once is enough")
			} else {
				require.Equal(t, test.record, got)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	const s = time.Second
	open := Record{Open: true, At: epoch, Openings: 1, NextProbe: after(s), FailingSince: epoch, Failures: 10}
	probing := local{Status: Status{State: HalfOpen, Since: epoch, Openings: 1, NextProbe: after(40 * s), FailingSince: epoch, Failures: 10}, mine: true}
	theirs := open
	theirs.Probe, theirs.NextProbe = "you", after(20*s)
	mine := open
	mine.Probe, mine.NextProbe = "me", after(20*s)
	later := open
	later.At, later.NextProbe = after(9*s), after(11*s)
	for name, test := range map[string]struct {
		record Record
		now    time.Duration
		want   bool
	}{
		"free":                           {record: open, now: 10 * s, want: true},
		"just free":                      {record: open, now: s, want: true},
		"not stored yet":                 {record: Record{}, now: 10 * s, want: true},
		"another's":                      {record: theirs, now: 20*s - 1},
		"another's, which is given up":   {record: theirs, now: 20 * s, want: true},
		"its own already":                {record: mine, now: 10 * s, want: true},
		"another's has failed meanwhile": {record: later, now: 10 * s},
		"closed meanwhile":               {record: Record{At: after(9 * s)}, now: 10 * s},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := claim(test.record, probing, "me", after(test.now), after(40*s))
			require.Equal(t, test.want, ok)
			if ok {
				require.Equal(t, "me", got.Probe)
				require.Equal(t, after(40*s), got.NextProbe)
				require.True(t, got.Open)
				require.Equal(t, 10, got.Failures)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	const s = time.Second
	open := Record{Open: true, At: epoch, Openings: 3, NextProbe: after(4 * s), FailingSince: after(-time.Hour), Failures: 12, LastFailure: epoch}

	c := NewCircuit(plain())
	old, _ := c.Admit(epoch)
	require.Equal(t, Opened, c.follow(after(s), open, "me"))
	require.Equal(t, Status{
		State: Open, Since: epoch, Openings: 3, NextProbe: after(4 * s), Failures: 12, FailingSince: after(-time.Hour), LastFailure: epoch,
	}, c.Status(after(s)))
	require.Equal(t, Unchanged, c.follow(after(s), open, "me"), "again")
	require.Equal(t, Unchanged, c.Report(after(s), old, Failed), "what was admitted before doesn't count")

	claimed := open
	claimed.Probe, claimed.NextProbe = "you", after(34*s)
	require.Equal(t, Unchanged, c.follow(after(4*s), claimed, "me"))
	require.Equal(t, HalfOpen, c.State(after(4*s)))
	_, ok := c.Admit(after(34*s - 1))
	require.False(t, ok)
	p, ok := c.Admit(after(34 * s))
	require.True(t, ok && p.Probe(), "given up")
	require.Equal(t, Unchanged, c.follow(after(34*s), open, "me"), "from before the claim")
	_, ok = c.Admit(after(34 * s))
	require.False(t, ok)

	require.Equal(t, Released, c.Report(after(34*s), p, Interrupted))
	stale := open
	stale.Probe, stale.NextProbe = "me", after(64*s)
	require.Equal(t, Unchanged, c.follow(after(34*s), stale, "me"), "its own claim, which is over")
	require.Equal(t, after(34*s), c.NextProbe())
	p, ok = c.Admit(after(34 * s))
	require.True(t, ok)

	later := open
	later.At, later.Openings, later.NextProbe, later.Failures = after(35*s), 4, after(43*s), 13
	require.Equal(t, Reopened, c.follow(after(35*s), later, "me"))
	require.Equal(t, Unchanged, c.follow(after(35*s), claimed, "me"), "an older transition")
	require.Equal(t, after(43*s), c.NextProbe())
	require.Equal(t, Unchanged, c.Report(after(36*s), p, Failed), "its probe decides nothing any more")

	require.Equal(t, Reclosed, c.follow(after(43*s), Record{At: after(43 * s), LastSuccess: after(43 * s)}, "me"))
	require.Equal(t, Status{Since: after(43 * s), LastSuccess: after(43 * s), LastFailure: epoch}, c.Status(after(43*s)))
	require.Equal(t, Unchanged, c.follow(after(44*s), Record{At: after(44 * s), LastSuccess: after(44 * s)}, "me"))
}

// Another clock that is wrong neither shuts a circuit for long nor outdoes what
// happens here afterwards.
func TestFollowAClockThatIsAhead(t *testing.T) {
	c := NewCircuit(plain())
	r := Record{Open: true, At: after(time.Hour), Openings: 1, NextProbe: after(time.Hour)}
	require.Equal(t, Opened, c.follow(epoch, r, "me"))
	require.Equal(t, after(30*time.Second), c.NextProbe())
	p, ok := c.Admit(after(30 * time.Second))
	require.True(t, ok)
	require.Equal(t, Reclosed, c.Report(after(31*time.Second), p, Succeeded))
	got, write := reconcile(r, c.local(after(31*time.Second)), "me")
	require.True(t, write)
	require.False(t, got.Open)
}
