// Package httpserver is a listener with every bound set: time to read the
// header, the request and to write the answer, header size, idle time, number
// of requests under way, and a shutdown that drains and then ends.
//
// A Server is bound when New returns, so a port that is taken is an error at
// start, and [Server.Addr] is known before anything runs.
package httpserver
