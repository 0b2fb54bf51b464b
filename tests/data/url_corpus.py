"""Targets that a webhook must never reach, in every notation that we know of.

Address ranges follow the IANA special-purpose registries (RFC 6890 and its updates); notations are those that
getaddrinfo and URL parsers are known to disagree on.
"""

V4 = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.0.0.2", "127.255.255.254", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.254", "192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.254", "192.175.48.1", "198.18.0.1", "198.19.255.254", "198.51.100.1", "203.0.113.1", "224.0.0.1", "224.0.0.251", "239.255.255.255", "240.0.0.1", "255.255.255.255"]

V6 = ["::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "2002:a9fe:a9fe::", "3fff::1", "2620:4f:8000::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd12:3456:789a::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff01::1", "ff02::1", "ff02::fb", "ff0e::1", "4000::1", "0100:0:0:1::1"]

# getaddrinfo takes these for loopback or private addresses
NOTATIONS = ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0x7f.1", "0177.1", "127.00.00.01", "0", "0x0", "0.0", "00000", "167772161", "0x0a000001", "012.0.0.1", "10.1", "10.0.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "3232235521", "0xc0a80001", "192.168.1", "192.168.257", "172.16.1", "0xac100001", "127.0.0.1.", "0x7F.0x0.0x0.0x1", "0000177.0.0.1", "0x7f000001.", "127.0x1", "127.0.0x1", "2886729729", "3232235777", "0300.0250.0.1", "0xC0.0xA8.0.1", "0254.020.0.1", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "⑩.0.0.1"]

LOCAL_NAMES = ["localhost", "LOCALHOST", "localhost.", "LocalHost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"]

SCHEMES = ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "ws://example.com/", "redis://example.com/", "unix:///var/run/docker.sock", "javascript:alert(1)", "data:text/plain,x", "//example.com/"]

PORTS = [
    f"https://example.com:{port}/"
    for port in (21, 22, 23, 25, 110, 1433, 3306, 5432, 5555, 6379, 8000, 9200, 11211, 27017)
]

USERINFO = [
    "https://user@127.0.0.1/",
    "https://user:pass@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://example.com:443@127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\.example.com/",
]

HOSTS = [*V4, *[f"[{one}]" for one in V6], *NOTATIONS, *LOCAL_NAMES]
URLS = [*[f"https://{host}/hook" for host in HOSTS], *SCHEMES, *PORTS, *USERINFO]
