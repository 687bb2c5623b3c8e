// Package ready is the file by which a process tells its starter that it is
// ready and where it listens: a JSON object that appears whole or not at all.
package ready

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// File is what a ready file says. Fields that a process has nothing for are
// left out.
type File struct {
	PublicURL string `json:"publicURL,omitempty"`
	AdminURL  string `json:"adminURL,omitempty"`
	OpsToken  string `json:"opsToken,omitempty"`
	PID       int    `json:"pid"`
}

// Write puts the file there in one step, readable by its owner alone, since it
// may hold a token.
func Write(path string, f File) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("the ready file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("the ready file: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the ready file: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

// pollEvery is how often Wait looks for the file.
const pollEvery = 10 * time.Millisecond

// Wait waits until the file is there, the context ends, or exited yields: then
// it returns an error.
func Wait(ctx context.Context, path string, exited <-chan struct{}) (File, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil {
			var f File
			if err := json.Unmarshal(data, &f); err != nil {
				return f, fmt.Errorf("the ready file %s: %w", path, err)
			}
			return f, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return File{}, fmt.Errorf("the ready file: %w", err)
		}
		select {
		case <-ctx.Done():
			return File{}, fmt.Errorf("waiting for the ready file %s: %w", path, context.Cause(ctx))
		case <-exited:
			return File{}, errors.New("the process ended before it was ready: its log says why")
		case <-tick.C:
		}
	}
}
