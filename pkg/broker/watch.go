package broker

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watchEnds is how long the end of a watch may take.
const watchEnds = 5 * time.Second

var errWatchStays = errors.New("the watch did not end within " + watchEnds.String())

// StopWatch ends a watch and empties its channel, since a callback that waits
// there would otherwise wait for ever. Nobody else may read from it any more. The
// error, that it did not end in time, is worth no more than a line in the log.
func StopWatch(w jetstream.KeyWatcher) error {
	_ = w.Stop() // it only fails where there is nothing to stop
	timeout := time.NewTimer(watchEnds)
	defer timeout.Stop()
	for {
		select {
		case _, open := <-w.Updates():
			if !open {
				return nil
			}
		case <-timeout.C:
			return errWatchStays
		}
	}
}
