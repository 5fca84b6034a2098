//! How tools for scanning name themselves. It keeps nobody out who takes care; those who do not are told apart in the
//! security log (row SX16).

/// Parts of a User-Agent, in lower case. SIPp and sipsak are not among them: operators test and watch with these.
const SIGNATURES: [&[u8]; 9] = [
    b"friendly-scanner",
    b"friendly-request",
    b"sipvicious",
    b"sundayddr",
    b"sip-scan",
    b"siparmyknife",
    b"pplsip",
    b"sippts",
    b"sipcli",
];
/// Bytes of a stranger's datagram that are looked at.
const LOOKED_AT_BYTES: usize = 1_024;

/// True for the User-Agent of a scanner.
pub(crate) fn is_one(agent: &[u8]) -> bool {
    let mut rest = agent;
    while let Some((first, others)) = rest.split_first() {
        if is_initial(*first) && SIGNATURES.iter().any(|signature| begins_with(rest, signature)) {
            return true;
        }
        rest = others;
    }
    false
}

/// The letters that the signatures begin with, in either case.
fn is_initial(byte: u8) -> bool {
    matches!(byte | 0x20, b'f' | b'p' | b's')
}

fn begins_with(text: &[u8], wanted: &[u8]) -> bool {
    text.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted))
}

/// The same for a datagram that nobody has parsed.
pub(crate) fn is_one_raw(bytes: &[u8]) -> bool {
    let head = bytes.get(..LOOKED_AT_BYTES).unwrap_or(bytes);
    let Some(at) = position(head, b"\nuser-agent:") else { return false };
    let value = head.get(at + 1..).unwrap_or_default();
    value.split(|byte| *byte == b'\n').next().is_some_and(is_one)
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_known_by_the_name_that_they_give() {
        for name in ["friendly-scanner", "SIPVicious/0.3.3", "my sundayddr", "sipcli/v1.8", "sippts 4.1"] {
            assert!(is_one(name.as_bytes()), "{name}");
        }
        for signature in SIGNATURES {
            assert!(is_one(&[b"a ", signature, b" b"].concat()) && is_one(&signature.to_ascii_uppercase()));
        }
        for name in ["Asterisk PBX 22.1.0", "FPBX-16.0.40", "SIPp", "sipsak 0.9.8", ""] {
            assert!(!is_one(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_datagram_is_looked_at_no_further_than_its_beginning() {
        let message =
            |agent: &str| format!("OPTIONS sip:100@1.1.1.1 SIP/2.0\r\nuser-Agent: {agent}\r\nFrom: sipvicious\r\n\r\n");
        assert!(is_one_raw(message("friendly-scanner").as_bytes()));
        assert!(!is_one_raw(message("Asterisk PBX").as_bytes()));
        assert!(!is_one_raw(b"From: friendly-scanner"));
        assert!(!is_one_raw(message(&format!("{}friendly-scanner", "x".repeat(LOOKED_AT_BYTES))).as_bytes()));
    }
}
