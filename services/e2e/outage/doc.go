// Package outage tests what an operator does after an outage, with the real binary.
// It waits for a minute, since an endpoint must have been silent for that long
// before anything is given up, and so runs beside the other end-to-end tests.
package outage
