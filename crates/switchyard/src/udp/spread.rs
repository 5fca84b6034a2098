//! Which worker a message belongs to, where there are several: a keyed hash of its Call-ID, which all messages of a call
//! carry, in both directions.
//!
//! The sockets of one address share its port, and the kernel picks one for each datagram by a program that is made here: a
//! scan for the usual form of the header line, and the same hash. So nearly every datagram arrives where it belongs. The
//! program knows less than [`Spread::owner_in`], which has the last word: compact and folded lines, and lines far down in a
//! message, arrive anywhere and are handed over.

use memchr::memchr;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt};
use std::io;
use std::net::UdpSocket;

/// Bytes of a Call-ID that its hash goes over.
pub const HASHED_BYTES: usize = 32;
/// Bytes of a datagram in which the kernel's program looks for its Call-ID; what is farther down is handed over.
pub const SCANNED_BYTES: usize = 2_048;
/// Where it begins: behind the shortest start line.
const SCAN_FROM: usize = 16;
/// Bytes between two looks: every way in which the mark lies across them has a word of its own.
const STRIDE: usize = 8;
/// Looks before a find is checked.
const LOOKS: usize = 16;
const CHUNK_BYTES: usize = STRIDE * LOOKS;
/// What stands before a Call-ID in its usual form.
const MARK: &[u8; 11] = b"\r\ncall-id: ";

/// linux/bpf_common.h, linux/filter.h.
const LOAD: u16 = 0x20;
const LOAD_AT_X: u16 = 0x40;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_NUMBER: u16 = 0x00;
const LOAD_KEPT: u16 = 0x60;
const X_NUMBER: u16 = 0x01;
const X_KEPT: u16 = 0x61;
const KEEP: u16 = 0x02;
const KEEP_X: u16 = 0x03;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const SUBTRACT_X: u16 = 0x1c;
const MULTIPLY: u16 = 0x24;
const OR: u16 = 0x44;
const SHIFT_RIGHT: u16 = 0x74;
const MODULO: u16 = 0x94;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const TO_X: u16 = 0x07;
const FROM_X: u16 = 0x87;
const RETURN: u16 = 0x06;
const RETURN_LOADED: u16 = 0x16;

/// Four letters in lower case at once; digits, `-`, `:` and a space stay what they are.
const LOWER: u32 = 0x2020_2020;
/// What ends a Call-ID: blanks, and the line's end.
const BLANK: u8 = b' ';
/// The cells that a program keeps its sum, a number and a place in.
const SUM: u32 = 0;
const NUMBER: u32 = 1;
const PLACE: u32 = 2;
/// No socket: the kernel takes one by the sender's address.
const ANY: u32 = u32::MAX;

/// The hash, and how many workers share the calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Spread {
    workers: u16,
    /// A number for each place: with numbers that nobody knows, nobody can make calls that all have one owner.
    factors: [u32; HASHED_BYTES],
}

impl Spread {
    /// A hash of its own for so many workers. It lasts for the process: no call outlives it in a worker.
    pub fn new(workers: u16) -> io::Result<Spread> {
        let mut seed = [0; 4 * HASHED_BYTES];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Spread::seeded(workers, &seed))
    }

    fn seeded(workers: u16, seed: &[u8; 4 * HASHED_BYTES]) -> Spread {
        let mut factors = [1; HASHED_BYTES];
        for (factor, bytes) in factors.iter_mut().zip(seed.as_chunks().0) {
            *factor = u32::from_le_bytes(*bytes) | 1;
        }
        Spread { workers: workers.max(1), factors }
    }

    /// How many share the calls.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The owner of a call.
    pub fn owner(&self, call_id: &[u8]) -> u16 {
        let hashed = call_id.iter().take_while(|byte| **byte > BLANK).zip(&self.factors);
        let sum = hashed.fold(0_u32, |sum, (byte, factor)| sum.wrapping_add(factor.wrapping_mul((*byte).into())));
        // The low bits of such a sum follow from the low bits of the bytes; the high ones are spread evenly.
        u16::try_from((sum >> 16) % u32::from(self.workers)).unwrap_or(0)
    }

    /// The owner of a message, also of one that is cut off; `None` where no Call-ID can be read in it.
    pub fn owner_in(&self, message: &[u8]) -> Option<u16> {
        call_id_in(message).map(|call_id| self.owner(call_id))
    }

    /// Has the kernel spread what arrives over the sockets of one address, which are as many as workers and share their
    /// port. `socket` is any of them.
    pub fn attach(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut scanned_bytes = SCANNED_BYTES;
        loop {
            let mut steps = self.program(scanned_bytes);
            let len = u16::try_from(steps.len()).map_err(io::Error::other)?;
            let program = sock_fprog { len, filter: steps.as_mut_ptr() };
            match setsockopt(socket, sockopt::AttachReusePortCbpf, &program) {
                // Too long for net.core.optmem_max: a shorter one finds most Call-IDs still.
                Err(nix::Error::ENOMEM) if scanned_bytes > CHUNK_BYTES => scanned_bytes /= 2,
                done => return done.map_err(io::Error::from),
            }
        }
    }

    /// The kernel's program: the number of the socket, or [`ANY`].
    fn program(&self, scanned_bytes: usize) -> Vec<sock_filter> {
        let mut steps = vec![step(LOAD_NUMBER, 0), step(KEEP, SUM)];
        let (mut finds, mut chunk_at) = (Vec::new(), SCAN_FROM);
        while chunk_at < scanned_bytes {
            scan(&mut steps, chunk_at, &mut finds);
            chunk_at += CHUNK_BYTES;
        }
        steps.push(step(RETURN, ANY));
        let hashing = steps.len();
        for find in finds {
            land(&mut steps, find, hashing);
        }
        self.hash(&mut steps);
        steps
    }

    /// The owner of the Call-ID that the mark's place in X leads to.
    fn hash(&self, steps: &mut Vec<sock_filter>) {
        let first = number(MARK.len());
        // A line may have no blank before its value.
        steps.extend([
            step(LOAD_BYTE_AT_X, first - 1),
            jump(IF_EQUAL, BLANK.into(), 3, 0),
            step(FROM_X, 0),
            step(ADD, u32::MAX),
            step(TO_X, 0),
            step(KEEP_X, PLACE),
        ]);
        let of_byte = 7;
        for (at, factor) in self.factors.iter().enumerate() {
            let to_end = (HASHED_BYTES - at) * of_byte - 2;
            steps.extend([
                step(LOAD_BYTE_AT_X, first + number(at)),
                jump(IF_ABOVE, BLANK.into(), 0, u8::try_from(to_end).unwrap_or(u8::MAX)),
                step(MULTIPLY, *factor),
                step(X_KEPT, SUM),
                step(ADD_X, 0),
                step(KEEP, SUM),
                step(X_KEPT, PLACE),
            ]);
        }
        steps.extend([
            step(LOAD_KEPT, SUM),
            step(SHIFT_RIGHT, 16),
            step(MODULO, self.workers.into()),
            step(RETURN_LOADED, 0),
        ]);
    }
}

/// The numbers are a secret.
impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Looks for the mark in one chunk. Where it is found, its place is in X, and one of `finds` jumps.
fn scan(steps: &mut Vec<sock_filter>, chunk_at: usize, finds: &mut Vec<usize>) {
    let mut checks = Vec::new();
    for look in 0..LOOKS {
        let at = number(chunk_at + look * STRIDE);
        steps.extend([step(LOAD, at), step(OR, LOWER)]);
        for (place, word) in words().enumerate() {
            let left = STRIDE - 1 - place;
            steps.push(jump(IF_EQUAL, word, u8::try_from(left).unwrap_or(0), if left == 0 { 2 } else { 0 }));
        }
        steps.push(step(X_NUMBER, at));
        checks.push(steps.len());
        steps.push(step(JUMP, 0));
    }
    let passed = steps.len();
    steps.push(step(JUMP, 0));
    let check = steps.len();
    for look in checks {
        land(steps, look, check);
    }
    check_find(steps, finds);
    let end = steps.len();
    land(steps, passed, end);
}

/// The word that matched says how far behind the mark's beginning the look was; then the whole name is compared.
fn check_find(steps: &mut Vec<sock_filter>, finds: &mut Vec<usize>) {
    // Two steps for each word: its distance, and the jump to what follows.
    for (place, word) in words().enumerate() {
        let to_distance = (STRIDE - 1 - place) + 2 * place;
        steps.push(jump(IF_EQUAL, word, u8::try_from(to_distance).unwrap_or(0), 0));
    }
    for place in 0..STRIDE {
        steps.extend([step(LOAD_NUMBER, number(place)), step(JUMP, number(2 * (STRIDE - 1 - place)))]);
    }
    steps.extend([step(KEEP, NUMBER), step(FROM_X, 0), step(X_KEPT, NUMBER), step(SUBTRACT_X, 0), step(TO_X, 0)]);
    let name = |at: usize| MARK.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word));
    steps.extend([
        step(LOAD_AT_X, 2),
        step(OR, LOWER),
        jump(IF_EQUAL, name(2), 0, 4),
        step(LOAD_AT_X, 6),
        step(OR, LOWER),
        jump(IF_EQUAL, name(6), 0, 1),
    ]);
    finds.push(steps.len());
    steps.push(step(JUMP, 0));
}

/// The words of the mark, each from the next byte on, as they are compared.
fn words() -> impl Iterator<Item = u32> {
    let of = |word: &[u8]| word.first_chunk().map(|word| u32::from_be_bytes(*word) | LOWER);
    MARK.windows(size_of::<u32>()).filter_map(of)
}

/// Makes the jump at `from` one to `to`, which is behind it.
fn land(steps: &mut [sock_filter], from: usize, to: usize) {
    if let Some(jump) = steps.get_mut(from) {
        jump.k = number(to.saturating_sub(from + 1));
    }
}

fn step(code: u16, operand: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k: operand }
}

fn jump(code: u16, operand: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code, jt: if_true, jf: if_false, k: operand }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The first Call-ID of a message, as far as a hash needs it. One that may be cut off is none.
pub(super) fn call_id_in(message: &[u8]) -> Option<&[u8]> {
    let begins = message.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut rest = message.get(begins..)?;
    loop {
        let end = memchr(b'\n', rest)?;
        rest = rest.get(end + 1..)?;
        match rest.first()? {
            b'\r' | b'\n' => return None,
            b'c' | b'C' | b'i' | b'I' => {}
            _ => continue,
        }
        let Some(value) = value_of(rest, b"call-id").or_else(|| value_of(rest, b"i")) else { continue };
        let len = value.iter().take(HASHED_BYTES).take_while(|byte| **byte > BLANK).count();
        let is_whole = len == HASHED_BYTES || value.len() > len;
        return value.get(..len).filter(|call_id| is_whole && !call_id.is_empty());
    }
}

/// What stands behind a header's name, the colon, and blanks and folds, where the line has this name.
fn value_of<'m>(line: &'m [u8], name: &[u8]) -> Option<&'m [u8]> {
    let (own, rest) = line.split_at_checked(name.len())?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let colon = rest.iter().position(|byte| !is_blank(byte))?;
    if !own.eq_ignore_ascii_case(name) || rest.get(colon) != Some(&b':') {
        return None;
    }
    let mut value = rest.get(colon + 1..)?;
    loop {
        value = value.get(value.iter().position(|byte| !is_blank(byte))?..)?;
        let behind = value.strip_prefix(b"\r\n").or_else(|| value.strip_prefix(b"\n"));
        match behind.filter(|behind| behind.first().is_some_and(is_blank)) {
            Some(behind) => value = behind,
            None => return Some(value),
        }
    }
}

#[cfg(test)]
mod tests;
