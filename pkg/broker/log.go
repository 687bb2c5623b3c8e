package broker

import (
	"fmt"
	"net"
	"strconv"

	"go.uber.org/zap"
)

// serverLog passes the server's log on; its notices are Parley's details.
type serverLog struct {
	z *zap.SugaredLogger
	// fatal takes why the server can't run, once: it logs that and nothing else
	// happens.
	fatal chan error
}

func (l serverLog) Noticef(format string, v ...any) { l.z.Debugf(format, v...) }
func (l serverLog) Warnf(format string, v ...any)   { l.z.Warnf(format, v...) }
func (l serverLog) Errorf(format string, v ...any)  { l.z.Errorf(format, v...) }
func (l serverLog) Debugf(format string, v ...any)  { l.z.Debugf(format, v...) }
func (l serverLog) Tracef(string, ...any)           {}

func (l serverLog) Fatalf(format string, v ...any) {
	l.z.Errorf(format, v...)
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default:
	}
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is no address: write it like 127.0.0.1:4222: %w", addr, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port number: %w", addr, err)
	}
	if port == 0 {
		port = -1 // the server's word for any free port
	}
	return host, port, nil
}
