//! Numbers and addresses as text, written without the formatter: some stand in every message that leaves.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Appends a number in decimal digits.
pub fn write_number(value: u32, out: &mut Vec<u8>) {
    if value < 10_000 {
        let pair = |value: u32| PAIRS.get(value as usize).copied().unwrap_or_default();
        let ([thousands, hundreds], [tens, ones]) = (pair(value / 100), pair(value % 100));
        return match value {
            0..10 => out.push(ones),
            10..100 => out.extend_from_slice(&[tens, ones]),
            100..1_000 => out.extend_from_slice(&[hundreds, tens, ones]),
            _ => out.extend_from_slice(&[thousands, hundreds, tens, ones]),
        };
    }
    write_large(value, out);
}

fn write_large(mut value: u32, out: &mut Vec<u8>) {
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
        IpAddr::V4(ip) => out.extend_from_slice(Short::of(ip).text()),
        // Writing into memory does not fail.
        IpAddr::V6(_) => drop(write!(out, "{ip}")),
    }
}

/// Appends host and port as they display: an IPv6 address in brackets.
pub fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => {
            let mut text = Short::of(*address.ip());
            text.push(b':');
            out.extend_from_slice(text.text());
            write_number(address.port().into(), out);
        }
        // Writing into memory does not fail.
        SocketAddr::V6(_) => drop(write!(out, "{address}")),
    }
}

/// An IPv4 address and a colon in the making: it is appended at one go.
struct Short {
    /// With room for three digits behind the last one.
    bytes: [u8; "255.255.255.255:".len() + 3],
    len: usize,
}

impl Short {
    fn of(ip: Ipv4Addr) -> Short {
        let mut text = Short { bytes: [0; 19], len: 0 };
        let [first, others @ ..] = ip.octets();
        text.octet(first);
        for octet in others {
            text.push(b'.');
            text.octet(octet);
        }
        text
    }

    #[inline(always)]
    fn octet(&mut self, value: u8) {
        let (digits, len) = OCTETS.get(usize::from(value)).copied().unwrap_or_default();
        if let Some(room) = self.bytes.get_mut(self.len..self.len + 3) {
            room.copy_from_slice(&digits);
            self.len += usize::from(len);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Two digits of each number below a hundred.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    let mut value = 0_u8;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = [b'0' + value / 10, b'0' + value % 10];
        value += 1;
        rest = others;
    }
    pairs
};

/// Each octet in decimal, and how many digits it has.
static OCTETS: [([u8; 3], u8); 256] = {
    let mut octets = [([0; 3], 0); 256];
    let mut rest: &mut [([u8; 3], u8)] = &mut octets;
    let mut value = 0_u8;
    while let Some((first, others)) = rest.split_first_mut() {
        let [hundreds, tens, ones] = [b'0' + value / 100, b'0' + value / 10 % 10, b'0' + value % 10];
        *first = match value {
            100.. => ([hundreds, tens, ones], 3),
            10.. => ([tens, ones, 0], 2),
            _ => ([ones, 0, 0], 1),
        };
        value = value.wrapping_add(1);
        rest = others;
    }
    octets
};

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
        for value in [0, 9, 10, 99, 100, 999, 1_000, 9_999, 10_000, 65_535, u32::MAX] {
            assert_eq!(written(|out| write_number(value, out)), format!("before {value}"));
        }
    }
}
