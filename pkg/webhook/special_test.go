package webhook

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// registered is an entry of a registry of addresses, and whether it has them
// globally reachable.
type registered struct {
	prefix string
	global bool
}

// registry is IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC
// 6890, as of October 2024), with what the registries of multicast (RFC 5771, RFC 4291),
// of retired tunnels (RFC 7526) and of site-local addresses (RFC 3879) add.
// IPv4 addresses inside IPv6 ones are judged by embedded.
var registry = []registered{
	{"0.0.0.0/8", false},
	{"10.0.0.0/8", false},
	{"100.64.0.0/10", false},
	{"127.0.0.0/8", false},
	{"169.254.0.0/16", false},
	{"172.16.0.0/12", false},
	{"192.0.0.0/24", false},
	{"192.0.0.0/29", false},
	{"192.0.0.8/32", false},
	{"192.0.0.9/32", true},
	{"192.0.0.10/32", true},
	{"192.0.0.170/31", false},
	{"192.0.2.0/24", false},
	{"192.31.196.0/24", true},
	{"192.52.193.0/24", true},
	{"192.88.99.0/24", false},
	{"192.168.0.0/16", false},
	{"192.175.48.0/24", true},
	{"198.18.0.0/15", false},
	{"198.51.100.0/24", false},
	{"203.0.113.0/24", false},
	{"224.0.0.0/4", false},
	{"240.0.0.0/4", false},
	{"255.255.255.255/32", false},
	{"::/128", false},
	{"::1/128", false},
	{"::/96", false},
	{"64:ff9b::/96", true},
	{"64:ff9b:1::/48", false},
	{"100::/64", false},
	{"100:0:0:1::/64", false},
	{"2001::/23", false},
	{"2001::/32", false},
	{"2001:1::1/128", true},
	{"2001:1::2/128", true},
	{"2001:1::3/128", true},
	{"2001:2::/48", false},
	{"2001:3::/32", true},
	{"2001:4:112::/48", true},
	{"2001:10::/28", false},
	{"2001:20::/28", true},
	{"2001:30::/28", true},
	{"2001:db8::/32", false},
	{"2002::/16", false},
	{"2620:4f:8000::/48", true},
	{"3fff::/20", false},
	{"5f00::/16", false},
	{"fc00::/7", false},
	{"fe80::/10", false},
	{"fec0::/10", false},
	{"ff00::/8", false},
}

// reachable is the oracle: the longest entry of the registry decides, and every
// IPv4 address inside.
func reachable(addr netip.Addr) bool {
	for _, inner := range embedded(addr) {
		if !reachable(inner) {
			return false
		}
	}
	if addr.Is4In6() {
		return true // as the IPv4 address inside
	}
	longest, global := -1, true
	for _, r := range registry {
		if p := netip.MustParsePrefix(r.prefix); p.Contains(addr.WithZone("")) && p.Bits() > longest {
			longest, global = p.Bits(), r.global
		}
	}
	return global
}

// embedded returns the IPv4 addresses that translators and tunnels would take
// out of an IPv6 address.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	expanded := addr.WithZone("").StringExpanded()
	switch {
	case strings.HasPrefix(expanded, "0064:ff9b:0000:0000:0000:0000:"), addr.Is4In6():
		return []netip.Addr{at(12)}
	case strings.HasPrefix(expanded, "0064:ff9b:0001:"), strings.HasPrefix(expanded, "0000:0000:0000:0000:"):
		return []netip.Addr{at(12)}
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		return []netip.Addr{at(2)}
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0: // Teredo: server, and client inverted
		return []netip.Addr{at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	}
	return nil
}

// Each entry of the registry is tried at its ends and around them: what is not
// globally reachable is refused, also where it is mapped into IPv6.
func TestAllowedKeepsToTheRegistry(t *testing.T) {
	forms := func(a netip.Addr) []netip.Addr {
		out := []netip.Addr{a}
		if a.Is4() {
			raw := a.As4()
			for _, prefix := range []string{"::ffff:0:0", "64:ff9b::", "64:ff9b:1::"} {
				wide := netip.MustParseAddr(prefix).As16()
				copy(wide[12:], raw[:])
				out = append(out, netip.AddrFrom16(wide))
			}
			out = append(out, netip.AddrFrom16([16]byte{0x20, 0x02, raw[0], raw[1], raw[2], raw[3]}))
		} else {
			out = append(out, a.WithZone("eth0"))
		}
		return out
	}
	for _, r := range registry {
		prefix := netip.MustParsePrefix(r.prefix)
		first, last := prefix.Addr(), lastOf(prefix)
		for _, a := range []netip.Addr{first, first.Next(), last, last.Prev(), first.Prev(), last.Next()} {
			if !a.IsValid() {
				continue
			}
			for _, form := range forms(a) {
				if !reachable(form) {
					require.ErrorIs(t, Allowed(form), ErrForbidden, "%s of %s", form, r.prefix)
				}
			}
		}
	}
	for _, public := range []string{"1.1.1.1", "8.8.8.8", "192.31.196.1", "223.255.255.255", "2606:4700::1", "2a00::1", "64:ff9b::808:808"} {
		require.True(t, reachable(netip.MustParseAddr(public)), "the oracle can say yes")
		require.NoError(t, Allowed(netip.MustParseAddr(public)))
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last
}

// FuzzNoAcceptedAddressIsPrivate has the registry judge what the guard accepts,
// alone and with a network that the operator allows.
func FuzzNoAcceptedAddressIsPrivate(f *testing.F) {
	for _, r := range registry {
		f.Add(netip.MustParsePrefix(r.prefix).Addr().AsSlice())
	}
	for _, a := range []string{
		"8.8.8.8", "10.1.2.3", "10.2.2.3", "::ffff:192.168.0.1", "::ffff:10.1.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "64:ff9b::a01:1", "2002:a00:1::",
		"2001:0:808:808::f5ff:fffe", "::a00:1", "::ffff:0:a00:1", "fd12::1", "fd13::1", "2606:4700:4700::1111",
	} {
		f.Add(netip.MustParseAddr(a).AsSlice())
	}
	allowing := &Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd12::/16")}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		if Allowed(addr) == nil {
			require.True(t, reachable(addr), "%s is not globally reachable", addr)
			require.True(t, addr.Unmap().IsGlobalUnicast() && !addr.Unmap().IsPrivate(), "%s by the words of netip", addr)
		}
		if allowing.CheckAddr(addr) == nil && !reachable(addr) {
			b := addr.As16()
			require.True(t, addr.Unmap().Is4() && b[12] == 10 && b[13] == 1 || b[0] == 0xfd && b[1] == 0x12, "%s is not what was allowed", addr)
		}
	})
}

// aton reads a host as the C library's inet_aton does: one to four numbers, each
// decimal, octal or hexadecimal, the last filling what is left.
func aton(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, "_oObB") && !strings.HasPrefix(strings.ToLower(part), "0x") {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(part, 0, 64)
		if strings.EqualFold(part, "0x") {
			n, err = 0, nil
		}
		last := i == len(parts)-1
		room := uint64(0xff)
		if last {
			room = 1<<(8*(5-len(parts))) - 1
		}
		if err != nil || n > room {
			return netip.Addr{}, false
		}
		if last {
			value |= n
		} else {
			value |= n << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func TestAton(t *testing.T) { // the oracle below
	for host, want := range map[string]string{
		"2130706433": "127.0.0.1", "017700000001": "127.0.0.1", "0x7f.1": "127.0.0.1", "127.1": "127.0.0.1", "0177.0.0.01": "127.0.0.1",
		"10.0x10.258": "10.16.1.2", "0x0a.1.2.3": "10.1.2.3",
	} {
		got, ok := aton(host)
		require.True(t, ok, host)
		require.Equal(t, want, got.String(), host)
	}
	for _, host := range []string{"example.com", "1.2.3.4.5", "256.1.1.1", "08.1.1.1", "4294967296", "", "1..2"} {
		_, ok := aton(host)
		require.False(t, ok, host)
	}
}

// FuzzNoAcceptedURLNamesAPrivateAddress reads the host of what is accepted in
// every way that a resolver may.
func FuzzNoAcceptedURLNamesAPrivateAddress(f *testing.F) {
	for _, host := range []string{
		"example.com", "2130706433", "017700000001", "0x7f000001", "0X7F.1", "127.1", "0177.0.0.1", "127.0.0.1.", "[::ffff:7f00:1]", "[::1%25lo]",
		"8.8.8.8", "134744072", "localhost", "a.localhost.", "127。0。0。1", "user@127.0.0.1", "1e100.net", "[64:ff9b::7f00:1]", "0x.0x.0x.0x",
	} {
		f.Add("http://" + host + "/")
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := new(Guard).ParseURL(raw)
		if err != nil {
			require.ErrorIs(t, err, ErrForbidden)
			return
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		addr, err := netip.ParseAddr(host)
		if err != nil {
			var ok bool
			if addr, ok = aton(host); !ok {
				require.NotEqual(t, "localhost", strings.ToLower(host))
				return
			}
		}
		require.True(t, reachable(addr), "%s is %s", raw, addr)
		again, err := url.Parse(u.String())
		require.NoError(t, err)
		require.Equal(t, u.Host, again.Host)
	})
}
