//go:build unix

package webhook

import (
	"errors"
	"syscall"
)

const canPeek = true

// silent reports whether a socket is open and has nothing to read. It may take
// a byte: a socket that has one is not used again.
func silent(fd uintptr) bool {
	var b [1]byte
	_, err := syscall.Read(int(fd), b[:]) // Go's sockets do not block
	return errors.Is(err, syscall.EAGAIN)
}
