// Package apply tests configuration that is mounted as a file, with the real
// binary.
package apply
