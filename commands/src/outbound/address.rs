//! Which addresses belong to the public internet.
//!
//! The lists are IANA's special-purpose registries (RFC 6890 and its updates). IPv6 is judged the other way round, by
//! what is allowed: only 2000::/3 has been given out as global unicast, so whatever embeds an IPv4 address outside of it
//! (mapped, compatible, NAT64) is refused without being unpacked, and what embeds one inside of it is on the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not the public internet: network and prefix length.
const SPECIAL_V4: [(Ipv4Addr, u32); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT; a cloud's metadata at 100.100.100.200
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's host agent, though the address is a public one
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; metadata of most clouds at 169.254.169.254
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments; a cloud's metadata at 192.0.0.192
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // automatic multicast tunnelling
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(192, 175, 48, 0), 24),  // AS112
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),      // multicast, reserved, broadcast
];

/// All of IPv6 that is given out for the public internet.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks within it that are something else.
const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, ORCHID, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: any IPv4 address in disguise
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// The interface identifier of ISATAP (RFC 5214), which tunnels to the IPv4 address in its last 32 bits.
const ISATAP: [u16; 2] = [0x0000, 0x5efe];
/// The bit of an interface identifier that says "unique in the world"; ISATAP is written with and without it.
const UNIVERSAL: u16 = 0x0200;

/// Whether an address is one of the public internet, and not a private, loopback, link-local, metadata, shared,
/// multicast, documentation or otherwise special one, nor one that leads to such by translation or tunnel.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|(network, length)| (v4.to_bits() ^ network.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let within =
        |(network, length): &(Ipv6Addr, u32)| (v6.to_bits() ^ network.to_bits()) >> (128 - length) == 0;
    let [.., high, low, _, _] = v6.segments();
    within(&GLOBAL_V6) && !SPECIAL_V6.iter().any(within) && [high & !UNIVERSAL, low] != ISATAP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and last of each network that is no public one, and the addresses that attackers ask for.
    const INSIDE: &str = "
        0.0.0.0 0.255.255.255
        10.0.0.0 10.1.2.3 10.255.255.255
        100.64.0.0 100.100.100.200 100.127.255.255
        127.0.0.0 127.0.0.1 127.1.2.3 127.255.255.255
        168.63.129.16
        169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255
        172.16.0.0 172.17.0.1 172.31.255.255
        192.0.0.0 192.0.0.8 192.0.0.170 192.0.0.192 192.0.0.255
        192.0.2.0 192.0.2.255
        192.31.196.1 192.52.193.1 192.88.99.1 192.175.48.1
        192.168.0.0 192.168.1.1 192.168.255.255
        198.18.0.0 198.19.255.255
        198.51.100.0 198.51.100.255
        203.0.113.0 203.0.113.255
        224.0.0.0 224.0.0.1 239.255.255.255
        240.0.0.0 250.1.2.3 255.255.255.254 255.255.255.255
        :: ::1 ::2
        ::127.0.0.1 ::10.0.0.1 ::8.8.8.8
        ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:8.8.8.8
        ::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8
        64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 64:ff9b:1::a00:1 64:ff9b:1:ffff::1
        100::1 100:0:0:1::1
        2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2
        2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1 2001:30::1 2001:1ff:ffff::1
        2001:db8:: 2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
        2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::1 2002:808:808::1
        2620:4f:8000::1
        2606:4700::5efe:7f00:1 2606:4700::200:5efe:a00:1
        3fff:: 3fff:fff:ffff::1
        4000::1 5f00::1 8000::1
        fc00:: fc00::1 fd00:ec2::254 fdff:ffff::1
        fe80:: fe80::1 fe80::a9fe:a9fe febf::1
        fec0::1
        ff00:: ff02::1 ff05::2 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

    /// The neighbours of those networks, and addresses that everybody knows.
    const OUTSIDE: &str = "
        1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34
        100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
        168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0
        172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0
        198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
        2000::1 2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1 2003::1
        2606:2800:220:1:248:1893:25c8:1946 2606:4700:4700::1111 2620:4f:7fff::1 2a00:1450:4001:81b::200e
        3ffe:ffff::1 3fff:1000::1";

    fn addresses(list: &str) -> impl Iterator<Item = IpAddr> {
        list.split_whitespace().map(|text| text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
    }

    #[test]
    fn what_is_inside_is_refused() {
        let public: Vec<IpAddr> = addresses(INSIDE).filter(|address| is_public(*address)).collect();
        assert_eq!(public, [] as [IpAddr; 0]);
        assert!(addresses(INSIDE).count() >= 80);
    }

    #[test]
    fn what_is_outside_is_let_through() {
        let refused: Vec<IpAddr> = addresses(OUTSIDE).filter(|address| !is_public(*address)).collect();
        assert_eq!(refused, [] as [IpAddr; 0]);
    }

    #[test]
    fn no_ipv4_address_gets_through_in_disguise() {
        for v4 in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "8.8.8.8"] {
            let [a, b, c, d] = v4.parse::<Ipv4Addr>().unwrap().octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for disguise in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0, 0, !high, !low),
                Ipv6Addr::new(0x2a00, 0x1450, 0, 0, 0x200, 0x5efe, high, low),
            ] {
                assert!(!is_public(disguise.into()), "{disguise}");
            }
        }
    }
}
