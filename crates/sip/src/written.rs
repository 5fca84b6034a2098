//! Numbers and addresses as text, written without the formatter: some stand in every message that leaves.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Appends a number in decimal digits.
pub fn write_number(mut value: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 10];
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        first -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

/// Appends an address as it displays: an IPv6 one without brackets, as `received` has it (RFC 3261 section 25.1, RFC 5118
/// section 4.5).
pub fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => write_ipv4(ip, out),
        // Writing into memory does not fail.
        IpAddr::V6(_) => drop(write!(out, "{ip}")),
    }
}

/// Appends host and port as they display: an IPv6 address in brackets.
pub fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => {
            write_ipv4(*address.ip(), out);
            out.push(b':');
            write_number(address.port().into(), out);
        }
        // Writing into memory does not fail.
        SocketAddr::V6(_) => drop(write!(out, "{address}")),
    }
}

fn write_ipv4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    let [first, others @ ..] = ip.octets();
    write_number(first.into(), out);
    for octet in others {
        out.push(b'.');
        write_number(octet.into(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn all_is_written_as_it_displays(value: u32, address: SocketAddr) {
            prop_assert_eq!(written(|out| write_number(value, out)), format!("before {value}"));
            prop_assert_eq!(written(|out| write_address(address, out)), format!("before {address}"));
            prop_assert_eq!(written(|out| write_ip(address.ip(), out)), format!("before {}", address.ip()));
        }
    }

    #[test]
    fn bounds_are_written() {
        for value in [0, 9, 10, 65_535, u32::MAX] {
            assert_eq!(written(|out| write_number(value, out)), format!("before {value}"));
        }
    }
}
