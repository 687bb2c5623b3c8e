package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// whenForms is how the flags of commands that list take a time.
const whenForms = "24h (ago), 2026-01-31, or 2026-01-31T08:00:00Z"

// parseWhen reads a time, a date, or how long ago it was; the zero time of "".
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("this is no time: write it like " + whenForms)
	}
	return at, nil
}

// pinTimes makes one moment each of what --since and --until say, for all parts of
// an answer.
func pinTimes(since, until *string, now time.Time) error {
	for name, text := range map[string]*string{"since": since, "until": until} {
		at, err := parseWhen(*text, now)
		if err != nil {
			return fmt.Errorf("--%s %q: %w", name, *text, err)
		}
		if !at.IsZero() {
			*text = at.UTC().Format(time.RFC3339Nano)
		}
	}
	return nil
}

// setTimes is pinTimes for a query.
func setTimes(query url.Values, since, until string, now time.Time) error {
	if err := pinTimes(&since, &until, now); err != nil {
		return err
	}
	for name, text := range map[string]string{"since": since, "until": until} {
		if text != "" {
			query.Set(name, text)
		}
	}
	return nil
}
