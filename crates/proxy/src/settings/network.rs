//! A range of addresses.

use std::net::IpAddr;

/// The addresses that begin with the same bits as `ip`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// Any of them.
    pub ip: IpAddr,
    /// How many bits count: up to 32, or up to 128 for IPv6.
    pub bits: u8,
}

impl Network {
    /// Whether this address is one of them; an IPv4 address inside IPv6 counts as IPv4.
    pub fn has(&self, ip: IpAddr) -> bool {
        match (self.ip.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let differing = u32::from(own) ^ u32::from(ip);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let differing = u128::from(own) ^ u128::from(ip);
                differing.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}
