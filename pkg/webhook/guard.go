package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrForbidden is wrapped by every refusal of the guard.
var ErrForbidden = errors.New("the guard refuses")

const maxURLChars = 2048

// Guard decides which URLs and addresses an endpoint may have. Its zero value
// lets through public addresses on the ports of [DefaultPorts]. It is not
// changed once in use.
type Guard struct {
	// Allow are networks that the operator lets through although they are not
	// public. An IPv4 address written as IPv6 (::ffff:a.b.c.d) counts as IPv4; one behind
	// NAT64 does not.
	Allow []netip.Prefix
	// Ports are the ports let through; empty means DefaultPorts.
	Ports []uint16
	// AnyPort lets every port through.
	AnyPort bool
}

// DefaultPorts returns the ports of a guard that names none: 80, 443, 8080,
// 8443.
func DefaultPorts() []uint16 { return []uint16{80, 443, 8080, 8443} }

// CheckURL reports why an endpoint must not have this URL; nil if it may.
func (g *Guard) CheckURL(raw string) error {
	_, err := g.ParseURL(raw)
	return err
}

// ParseURL parses an endpoint's URL and checks what is known without resolving
// its name: scheme, host, port, no user info, and for a literal address that it
// is allowed. The error wraps [ErrForbidden], says what to change, and does not
// repeat the URL, which may hold a secret.
func (g *Guard) ParseURL(raw string) (*url.URL, error) {
	if len(raw) > maxURLChars {
		return nil, forbidden("a URL has at most %d characters", maxURLChars)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, forbidden("the URL cannot be parsed; write it like https://example.com/webhook")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, forbidden("the URL's scheme must be https or http")
	}
	if u.User != nil {
		return nil, forbidden("the URL must not hold a user name or password")
	}
	port, err := portOf(u)
	if err != nil {
		return nil, err
	}
	if err := g.checkPort(port); err != nil {
		return nil, err
	}
	if err := g.checkHost(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

// CheckAddr reports why this address must not be reached; nil if it may.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	plain := addr.Unmap().WithZone("")
	for _, p := range g.Allow {
		if p.Contains(plain) {
			return nil
		}
	}
	return Allowed(addr)
}

// Control is a [net.Dialer]'s ControlContext: it checks the address that is
// about to be dialled.
func (g *Guard) Control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return forbidden("%q is no address and port", address)
	}
	if err := g.checkPort(ap.Port()); err != nil {
		return err
	}
	return g.CheckAddr(ap.Addr())
}

func (g *Guard) checkPort(port uint16) error {
	ports := g.Ports
	if len(ports) == 0 {
		ports = DefaultPorts()
	}
	if g.AnyPort || slices.Contains(ports, port) {
		return nil
	}
	return forbidden("port %d: use one of %v, or have the operator allow it", port, ports)
}

// checkHost checks a URL's host, which is a name or a literal address.
func (g *Guard) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return forbidden("an address must not have a zone")
		}
		return g.CheckAddr(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > 253 {
		return forbidden("the URL needs a host name of 1 to 253 characters")
	}
	if strings.ContainsFunc(name, notInName) {
		return forbidden("a host name has letters, digits, hyphens and dots only; write an international name in its xn-- form")
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Contains(name, "..") || strings.HasSuffix(name, ".") {
		return forbidden("a host name must not have two dots in a row")
	}
	if isNumber(last) {
		return forbidden("an IPv4 address is written as four decimal numbers without leading zeros, such as 192.0.2.1")
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return g.CheckAddr(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return nil
}

func notInName(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", r)
}

// isNumber reports whether a host's last label is one that resolvers take for a
// part of an IPv4 address: decimal, octal (0177) or hexadecimal (0x7f).
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0, forbidden("the URL has a colon without a port behind its host")
		}
		if u.Scheme == "http" {
			return 80, nil
		}
		return 443, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, forbidden("the URL's port must be 1 to 65535")
	}
	return uint16(port), nil
}

func forbidden(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForbidden, fmt.Sprintf(format, args...))
}
