package health

import "time"

// Record is what the workers share of one destination. Its times are by the clock
// of whoever wrote it.
type Record struct {
	Open      bool      `json:"open"`
	At        time.Time `json:"at"` // of the last transition: the later one of two counts
	Openings  int       `json:"openings,omitempty"`
	NextProbe time.Time `json:"nextProbe,omitzero"` // nobody probes before
	Probe     string    `json:"probe,omitempty"`    // whose probe is under way, until NextProbe

	FailingSince time.Time `json:"failingSince,omitzero"`
	Failures     int       `json:"failures,omitempty"`
	LastFailure  time.Time `json:"lastFailure,omitzero"`
	LastSuccess  time.Time `json:"lastSuccess,omitzero"`
	Warned       time.Time `json:"warned,omitzero"` // when the operator was told; see Failing
}

// State is the circuit's at a time, as the record has it.
func (r Record) State(now time.Time) State {
	switch {
	case !r.Open:
		return Closed
	case r.Probe != "" || !now.Before(r.NextProbe):
		return HalfOpen
	}
	return Open
}

// failing is what the record says to [Failing.Decide].
func (r Record) failing() Failing {
	if !r.Open {
		return Failing{}
	}
	return Failing{Since: r.FailingSince, LastSuccess: r.LastSuccess, LastFailure: r.LastFailure, Failures: r.Failures, Warned: r.Warned}
}

// local is a circuit as its process has it.
type local struct {
	Status
	mine bool // a probe of this process is under way
}

func (c *Circuit) local(now time.Time) local {
	c.mu.Lock()
	defer c.mu.Unlock()
	return local{c.status(now), c.mine}
}

// reconcile returns what the record should be according to the process that is
// called me, and whether it has to be written for that. The later transition
// counts. Of the same one the process knows whether its own probe is still under
// way, and whether there has been a success where the record knows of failures
// alone.
func reconcile(r Record, l local, me string) (Record, bool) {
	if l.Since.After(r.At) {
		return r.replaced(l, me), true
	}
	write := false
	if r.Open && r.Probe == me && !l.mine {
		r.Probe, r.NextProbe, write = "", l.NextProbe, true
	}
	if r.Open && l.LastSuccess.After(later(r.FailingSince, r.LastSuccess)) {
		r.LastSuccess, write = l.LastSuccess, true
	}
	return r, write
}

// replaced is the record after a transition of the process's circuit.
func (r Record) replaced(l local, me string) Record {
	next := Record{
		Open: l.State != Closed, At: l.Since, Openings: l.Openings, NextProbe: l.NextProbe,
		LastFailure: later(r.LastFailure, l.LastFailure), LastSuccess: later(r.LastSuccess, l.LastSuccess),
	}
	if !next.Open {
		return next
	}
	if l.mine {
		next.Probe = me
	}
	next.Failures = l.Failures
	next.FailingSince = firstAfter(next.LastSuccess, r.FailingSince, l.FailingSince)
	if next.FailingSince.IsZero() {
		next.FailingSince = l.Since
	}
	if next.FailingSince.Equal(r.FailingSince) {
		next.Failures = max(l.Failures, r.Failures)
		next.Warned = r.Warned
	}
	return next
}

// firstAfter returns the earlier of two times that is after t; zero if neither is.
func firstAfter(t, a, b time.Time) time.Time {
	switch {
	case !a.After(t):
		a = b
	case b.After(t) && b.Before(a):
		a = b
	}
	if !a.After(t) {
		return time.Time{}
	}
	return a
}

// claim returns the record with the probe of the process that is called me; false
// if the probe is not to be had.
func claim(r Record, l local, me string, now, until time.Time) (Record, bool) {
	r, _ = reconcile(r, l, me)
	if !r.Open || r.Probe != me && now.Before(r.NextProbe) {
		return r, false
	}
	r.Probe, r.NextProbe = me, until
	return r, true
}

// follow makes the circuit what the record says, unless it has had a later
// transition itself. A probe of its own is not taken back by a record from before
// it was claimed.
func (c *Circuit) follow(now time.Time, r Record, me string) Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastSuccess, c.lastFailure = later(c.lastSuccess, r.LastSuccess), later(c.lastFailure, r.LastFailure)
	switch {
	case r.At.Before(c.at):
		return Unchanged
	case !r.Open && c.open:
		c.close(r.At)
		return Reclosed
	case !r.Open:
		c.at = r.At
		return Unchanged
	}
	change := Unchanged
	switch {
	case !c.open:
		c.trip(r.At, r.Openings)
		change = Opened
	case r.At.After(c.at):
		change = Reopened
	case c.mine && (r.Probe == me || r.Probe == ""):
		return Unchanged
	}
	c.at, c.openings, c.mine, c.elses = r.At, r.Openings, false, ""
	if r.Probe != me { // one of its own that is over, as the circuit knows better
		c.elses = r.Probe
		c.next = c.soon(now, r.NextProbe)
	}
	c.failures = max(c.failures, r.Failures)
	c.failingSince = firstAfter(c.lastSuccess, c.failingSince, r.FailingSince)
	return change
}

// soon bounds a time that another clock has set.
func (c *Circuit) soon(now, at time.Time) time.Time {
	if limit := now.Add(max(c.opts.MaxCoolDown, c.opts.ProbeTimeout)); at.After(limit) {
		return limit
	}
	return at
}

// yield gives a probe back that is not to be made before a time.
func (c *Circuit) yield(now time.Time, p Pass, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open && c.mine && p.term == c.term && p.probe == c.probe {
		c.mine, c.next = false, c.soon(now, later(now, until))
	}
}
