// Package suspend stops a process without ending it, as a machine does that
// hangs: tests do that to what Parley depends on. Windows has nothing like it;
// there both functions return [errors.ErrUnsupported].
package suspend

import "os"

// Suspend lets a process do nothing until [Resume].
func Suspend(p *os.Process) error { return suspend(p) }

// Resume lets a suspended process go on. One that runs just does.
func Resume(p *os.Process) error { return resume(p) }
