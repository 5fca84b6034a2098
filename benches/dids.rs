//! The numbers that the load generator calls, and whose they are: what a directory under load must hold.

/// The environments, in the order of a number's remainder.
pub const ENVIRONMENTS: [&str; 3] = ["prod", "staging", "oss"];
/// The prefix of the calling endpoints, which is that of their organisation.
pub const ENDPOINT_PREFIX: &str = "org_a1b2c3d4_";

/// National form of the number at `place`, ten digits: one block, so that no two places have the same.
pub const fn national(place: u64) -> u64 {
    8_065_900_000 + place
}

/// How callers dial the number at `place`: the three spellings take turns.
pub fn dialled(place: u64) -> String {
    match place % 9 / 3 {
        0 => format!("+91{}", national(place)),
        1 => format!("91{}", national(place)),
        _ => format!("0{}", national(place)),
    }
}

/// The place in [`ENVIRONMENTS`] of the environment of the number at `place`.
pub const fn environment(place: u64) -> u64 {
    place % 3
}

/// The endpoint whose caller ID is the number at `place`.
pub fn endpoint(place: u64) -> String {
    format!("{ENDPOINT_PREFIX}{place}")
}
