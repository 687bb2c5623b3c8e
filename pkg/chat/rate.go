package chat

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may happen: Count times Per, and Burst times at
// once after a pause. The zero Rate is no limit. As text it is "100/s", "30/m",
// "100/s:200" with a burst, or "off".
type Rate struct {
	Count int
	Per   time.Duration // a second or a minute
	Burst int           // at least 1
}

// MaxRate is the most that a Rate allows a second, and at once.
const MaxRate = 100_000

// ParseRate reads a rate's text. Without a burst it is Count. The error says
// how to write one.
func ParseRate(text string) (Rate, error) {
	if text == "off" {
		return Rate{}, nil
	}
	amount, burst, hasBurst := strings.Cut(text, ":")
	amount, unit, hasUnit := strings.Cut(amount, "/")
	r := Rate{Per: time.Second}
	switch {
	case unit == "m":
		r.Per = time.Minute
	case hasUnit && unit != "s":
		return Rate{}, badRate(text)
	}
	if !hasBurst {
		burst = amount
	}
	var err, berr error
	r.Count, err = strconv.Atoi(amount)
	r.Burst, berr = strconv.Atoi(burst)
	if err != nil || berr != nil || r.Count < 1 || r.Count > MaxRate || r.Burst < 1 || r.Burst > MaxRate {
		return Rate{}, badRate(text)
	}
	return r, nil
}

func badRate(text string) error {
	return fmt.Errorf(`%q is no rate: write it like "100/s", "30/m", "100/s:200" with a burst of 200 (each from 1 to %d), or "off"`, text, MaxRate)
}

// Limits reports whether the rate is one.
func (r Rate) Limits() bool { return r.Count > 0 }

// Interval is the time between two at the full rate; 0 where there is no limit.
func (r Rate) Interval() time.Duration {
	if !r.Limits() {
		return 0
	}
	return r.Per / time.Duration(r.Count)
}

// String returns the rate's text.
func (r Rate) String() string {
	if !r.Limits() {
		return "off"
	}
	text := strconv.Itoa(r.Count) + "/s"
	if r.Per == time.Minute {
		text = strconv.Itoa(r.Count) + "/m"
	}
	if r.Burst != r.Count {
		text += ":" + strconv.Itoa(r.Burst)
	}
	return text
}

// MarshalText writes the rate's text.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a rate's text.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRate(string(b))
	return err
}
