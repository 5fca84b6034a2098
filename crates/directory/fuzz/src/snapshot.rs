//! A snapshot: the input as it is, and the input as the body of a snapshot whose length and checksum are right.

use directory::{Policy, snapshot};

/// Reads `data` both ways; what can be read can be written and read again.
pub fn run(data: &[u8]) {
    let policy = Policy::default();
    for bytes in [data.to_vec(), sealed(data)] {
        match snapshot::decode(&bytes, &policy) {
            Ok(directory) => {
                super::visit(&directory);
                let again = snapshot::decode(&snapshot::encode(&directory), &policy);
                assert!(again.expect("what was written can be read").says_the_same(&directory));
            }
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
}

/// A snapshot of version 1 with this body.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"SWYDIR\r\n".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc64(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// CRC-64/XZ, bit by bit.
fn crc64(bytes: &[u8]) -> u64 {
    let bit = |crc: u64, _| if crc & 1 == 1 { crc >> 1 ^ 0xc96c_5795_d787_0f42 } else { crc >> 1 };
    !bytes.iter().fold(u64::MAX, |crc, byte| (0..8).fold(crc ^ u64::from(*byte), bit))
}
