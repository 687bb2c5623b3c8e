package webhook

import "net/netip"

// special is a network that no endpoint may be in, with the word for it.
type special struct {
	prefix netip.Prefix
	name   string
}

// specialV4 are the IPv4 networks that are not public, after IANA's IPv4
// Special-Purpose Address Registry (RFC 6890) and the multicast and reserved
// blocks. Metadata services live in link-local, in CGNAT, in 192.0.0.0/24, and
// one at a public address.
var specialV4 = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignment"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or broadcast"},
	{netip.MustParsePrefix("168.63.129.16/32"), "metadata"},
}

// specialV6 are the networks within and without 2000::/3 that are not public.
// What is outside 2000::/3 and not named here is refused all the same.
var specialV6 = []special{
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::/96"), "unspecified or IPv4-compatible"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64"}, // RFC 8215
	{netip.MustParsePrefix("fc00::/7"), "unique local"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/32"), "Teredo"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignment"}, // benchmarking and ORCHID among them
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"}, // RFC 7526 retired it
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
)

// Allowed reports why an address is not public; nil if it is. An IPv4 address
// inside an IPv6 one decides in its place (IPv4-mapped, NAT64); the retired
// tunnels (6to4, Teredo, IPv4-compatible) are refused whatever they hold. The
// error wraps [ErrForbidden].
func Allowed(addr netip.Addr) error {
	if !addr.IsValid() {
		return forbidden("there is no address")
	}
	plain := addr.Unmap().WithZone("")
	if nat64.Contains(plain) {
		raw := plain.As16()
		plain = netip.AddrFrom4([4]byte(raw[12:]))
	}
	list := specialV4
	if plain.Is6() {
		list = specialV6
	}
	for _, s := range list {
		if s.prefix.Contains(plain) {
			return forbidden("%s is not public (%s); the operator can allow its network", addr, s.name)
		}
	}
	if plain.Is6() && !globalUnicast.Contains(plain) {
		return forbidden("%s is not public (outside 2000::/3); the operator can allow its network", addr)
	}
	return nil
}
