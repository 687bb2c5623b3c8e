package webhook

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllowed(t *testing.T) {
	for addr, public := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "223.255.255.255": true, "172.15.255.255": true, "172.32.0.0": true,
		"100.63.255.255": true, "100.128.0.0": true, "192.0.1.0": true, "198.17.255.255": true, "168.63.129.17": true,
		"2606:4700:4700::1111": true, "2a00:1450:4001::200e": true, "2001:4860:4860::8888": true,
		"::ffff:8.8.8.8": true, "64:ff9b::8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false, "100.64.0.1": false,
		"100.100.100.200": false, "127.0.0.1": false, "127.255.0.9": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.0.0.192": false, "192.0.2.7": false, "192.88.99.1": false,
		"192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.9": false,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false, "168.63.129.16": false,
		"::": false, "::1": false, "::2": false, "::127.0.0.1": false, "::8.8.8.8": false,
		"fc00::1": false, "fd00:ec2::254": false, "fd20:ce::254": false, "fe80::1": false, "fe80::1%eth0": false,
		"febf::1": false, "fec0::1": false, "ff02::1": false, "2001:db8::1": false, "3fff::1": false,
		"2001::1": false, "2001:2::1": false, "2001:1ff::1": false, "2002:808:808::1": false, "2002:7f00:1::": false,
		"100::1": false, "4000::1": false, "5f00::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::10.1.2.3": false, "64:ff9b::169.254.169.254": false,
		"64:ff9b::100.64.0.1": false, "64:ff9b:1::8.8.8.8": false,
	} {
		err := Allowed(netip.MustParseAddr(addr))
		if public {
			require.NoError(t, err, addr)
		} else {
			require.ErrorIs(t, err, ErrForbidden, addr)
		}
	}
	require.ErrorIs(t, Allowed(netip.Addr{}), ErrForbidden)
}

func TestCheckURL(t *testing.T) {
	for raw, want := range map[string]string{ // what the error says; "" accepts
		"https://example.com/webhook?a=b":                  "",
		"http://example.com":                               "",
		"HTTPS://Example.COM.:8443/x":                      "",
		"http://example.com:8080/":                         "",
		"https://xn--bcher-kva.example/":                   "",
		"https://8.8.8.8/":                                 "",
		"https://[2606:4700:4700::1111]:443/":              "",
		"https://1e100.net/":                               "",
		"https://0x7f.example/":                            "",
		"":                                                 "scheme",
		"example.com/webhook":                              "scheme",
		"//example.com/":                                   "scheme",
		"ftp://example.com/":                               "scheme",
		"file:///etc/passwd":                               "scheme",
		"https:example.com":                                "host name",
		"https:///path":                                    "host name",
		"https://./":                                       "host name",
		"https://user:pw@example.com/":                     "user name",
		"https://user@example.com/":                        "user name",
		"https://example.com:22/":                          "port 22",
		"https://example.com:0/":                           "1 to 65535",
		"https://example.com:65536/":                       "1 to 65535",
		"https://example.com:/":                            "without a port",
		"https://exa mple.com/":                            "cannot be parsed",
		"https://example.com/\x00":                         "cannot be parsed",
		"https://example.com:https/":                       "cannot be parsed",
		"https://exa$mple.com/":                            "letters",
		"https://bücher.example/":                          "xn--",
		"https://１２７.０.０.１/":                               "xn--",
		"https://%31%32%37.0.0.1/":                         "cannot be parsed",
		"https://example..com/":                            "two dots",
		"https://example.com../":                           "two dots",
		"http://127.0.0.1/":                                "loopback",
		"http://127.0.0.1./":                               "four decimal",
		"http://2130706433/":                               "four decimal",
		"http://017700000001/":                             "four decimal",
		"http://0x7f000001/":                               "four decimal",
		"http://0X7F.0.0.1/":                               "four decimal",
		"http://0x7f.0x0.0x0.0x1/":                         "four decimal",
		"http://0177.0.0.1/":                               "four decimal",
		"http://127.1/":                                    "four decimal",
		"http://127.0.0.0x1/":                              "four decimal",
		"http://0x/":                                       "four decimal",
		"http://8.8.8.8.8/":                                "four decimal",
		"http://256.8.8.8/":                                "four decimal",
		"http://[::1]/":                                    "loopback",
		"http://[::ffff:127.0.0.1]/":                       "loopback",
		"http://[::ffff:7f00:1]/":                          "loopback",
		"http://[64:ff9b::7f00:1]/":                        "loopback",
		"http://[fe80::1%25eth0]/":                         "zone",
		"http://[2606:4700:4700::1111%25x]/":               "zone",
		"http://169.254.169.254/latest/meta-data/":         "link-local",
		"http://LOCALHOST:8080/":                           "loopback",
		"http://api.localhost./":                           "loopback",
		"https://" + strings.Repeat("a", 254) + "/":        "host name",
		"https://example.com/" + strings.Repeat("a", 2048): "2048",
	} {
		err := new(Guard).CheckURL(raw)
		if want == "" {
			require.NoError(t, err, raw)
			continue
		}
		require.ErrorIs(t, err, ErrForbidden, raw)
		require.ErrorContains(t, err, want, raw)
		require.NotContains(t, err.Error(), "pw@", "an error must not repeat what the URL holds")
	}
}

func TestGuardLetsThroughWhatTheOperatorAllows(t *testing.T) {
	g := &Guard{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("10.1.0.0/16")},
		Ports: []uint16{9000},
	}
	for _, ok := range []string{
		"http://127.0.0.1:9000/", "http://localhost:9000/", "http://[::ffff:127.0.0.1]:9000/", "http://[fd12::1]:9000/",
		"http://10.1.255.1:9000/", "http://8.8.8.8:9000/", "https://example.com:9000/",
	} {
		require.NoError(t, g.CheckURL(ok), ok)
	}
	for _, bad := range []string{
		"http://127.0.0.1/", "http://127.0.0.1:8080/", "http://10.2.0.1:9000/", "http://[::1]:9000/", "http://2130706433:9000/",
		"http://[64:ff9b::10.1.0.1]:9000/",
	} {
		require.ErrorIs(t, g.CheckURL(bad), ErrForbidden, bad)
	}
	require.NoError(t, (&Guard{AnyPort: true}).CheckURL("https://example.com:31337/"))
}

func TestControlChecksTheAddressThatIsDialled(t *testing.T) {
	g := &Guard{}
	require.NoError(t, g.Control(t.Context(), "tcp4", "8.8.8.8:443", nil))
	require.NoError(t, g.Control(t.Context(), "tcp6", "[2606:4700:4700::1111]:443", nil))
	for _, bad := range []string{"127.0.0.1:443", "[::1]:443", "[fe80::1%eth0]:443", "8.8.8.8:22", "[::ffff:10.0.0.1]:443", "socket", ""} {
		require.ErrorIs(t, g.Control(t.Context(), "tcp", bad, nil), ErrForbidden, bad)
	}
}
