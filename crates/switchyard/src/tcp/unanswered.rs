//! The requests of one connection that the kernel took last and nobody has answered: the peer may never have read them.

use super::WRITTEN;
use bytes::Bytes;
use memchr::memmem;
use sip::{Index, Parsed};
use std::collections::VecDeque;
use std::ops::Range;

/// What stands before a branch, as we write it.
const MARK: &[u8] = b";branch=";

/// At most [`WRITTEN`] requests.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    requests: VecDeque<Request>,
}

#[derive(Debug)]
struct Request {
    bytes: Bytes,
    /// Where the branch of its first Via stands.
    branch: Range<usize>,
}

impl Request {
    fn branch(&self) -> &[u8] {
        self.bytes.get(self.branch.clone()).unwrap_or_default()
    }
}

impl Unanswered {
    /// Keeps a request that the kernel took; of anything else nobody is told.
    pub(super) fn keep(&mut self, bytes: Bytes) {
        if bytes.starts_with(b"SIP/2.0 ") || bytes.starts_with(b"ACK ") {
            return;
        }
        if self.requests.len() == WRITTEN {
            self.requests.pop_front();
        }
        let branch = first_branch(&bytes);
        self.requests.push_back(Request { bytes, branch });
    }

    /// A response: its request has reached the peer, whatever becomes of the connection.
    pub(super) fn note_answer(&mut self, message: &[u8]) {
        if self.requests.is_empty() || !message.starts_with(b"SIP/2.0 ") || !self.may_be_answered_by(message) {
            return;
        }
        let mut index = Index::new();
        let Parsed::Response(response) = sip::parse_framed(message, &mut index) else { return };
        let Some(branch) = response.via().branch.filter(|branch| !branch.is_empty()) else { return };
        let method = response.cseq().method_bytes;
        self.requests.retain(|request| {
            let is_of_method = request.bytes.strip_prefix(method).is_some_and(|rest| rest.starts_with(b" "));
            !(is_of_method && request.branch() == branch)
        });
    }

    /// False for a response with branches none of which is one of ours: most are about what has been answered before, and
    /// need not be read. One that spells its branches in another way is read.
    fn may_be_answered_by(&self, message: &[u8]) -> bool {
        let mut has_branches = false;
        for at in memmem::find_iter(message, MARK) {
            has_branches = true;
            let rest = message.get(at + MARK.len()..).unwrap_or_default();
            if self.requests.iter().any(|request| rest.starts_with(request.branch())) {
                return true;
            }
        }
        !has_branches
    }

    /// All of them, the oldest first. None is left.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        std::mem::take(&mut self.requests).into_iter().map(|request| request.bytes)
    }
}

/// Where the branch of a request's first Via stands, which we have written; nothing where there is none.
fn first_branch(request: &[u8]) -> Range<usize> {
    let Some(at) = memmem::find(request, MARK) else { return 0..0 };
    let start = at + MARK.len();
    let rest = request.get(start..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b';' | b',' | b'\r' | b'\n' | b' ' | b'\t');
    start..start + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, branch: &str) -> Bytes {
        format!("{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.43;branch={branch}\r\nCall-ID: a@test\r\n\r\n")
            .into()
    }

    fn response(method: &str, via: &str) -> String {
        format!(
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/TCP 127.0.0.43{via}, SIP/2.0/TCP 127.0.0.41;branch=z9hG4bKother\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: a@test\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// What is left of an INVITE, a CANCEL of its branch, and an INVITE whose branch begins with the other's.
    fn left(response: &str) -> usize {
        let mut unanswered = Unanswered::default();
        let kept = [("INVITE", "z9hG4bKa"), ("CANCEL", "z9hG4bKa"), ("INVITE", "z9hG4bKab"), ("ACK", "z9hG4bKa")];
        kept.into_iter().for_each(|(method, branch)| unanswered.keep(request(method, branch)));
        unanswered.note_answer(response.as_bytes());
        unanswered.take().count()
    }

    #[test]
    fn an_answer_is_that_of_its_branch_and_method() {
        assert_eq!(left(&response("INVITE", ";branch=z9hG4bKa")), 2);
        assert_eq!(left(&response("CANCEL", ";received=127.0.0.43;branch=z9hG4bKa")), 2);
        assert_eq!(left(&response("INVITE", ";branch=z9hG4bKab")), 2);
        assert_eq!(left(&response("BYE", ";branch=z9hG4bKa")), 3);
        assert_eq!(left(&response("INVITE", ";branch=z9hG4bKabc")), 3);
        assert_eq!(left("SIP/2.0 180 Ringing\r\n\r\n"), 3);
    }

    #[test]
    fn a_branch_in_another_spelling_is_read() {
        let spelled =
            response("INVITE", "; Branch = z9hG4bKa").replace(", SIP/2.0/TCP 127.0.0.41;branch=z9hG4bKother", "");
        assert_eq!(left(&spelled), 2, "{spelled}");
    }
}
