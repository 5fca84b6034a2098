//! The files of `deploy/asterisk` against the rest: one address, port or name that differs is a call without sound.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of)
}

fn text(of: &str) -> String {
    std::fs::read_to_string(path(of)).unwrap_or_else(|fault| panic!("{of}: {fault}"))
}

/// Sections of a file in order; a section's name with its type, where the file gives one.
fn sections(of: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut sections: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for line in text(of).lines() {
        let line = line.split(';').next().unwrap().trim();
        if let Some(rest) = line.strip_prefix('[') {
            let (name, template) = rest.split_once(']').unwrap();
            let inherited = sections.iter().find(|(own, _)| template == format!("({own})"));
            sections.push((name.to_owned(), inherited.map(|(_, keys)| keys.clone()).unwrap_or_default()));
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.trim_start_matches('>').trim().to_owned();
            sections.last_mut().unwrap().1.insert(key.trim().to_owned(), value);
        }
    }
    sections
}

fn section<'s>(all: &'s [(String, BTreeMap<String, String>)], name: &str, kind: &str) -> &'s BTreeMap<String, String> {
    let found = all.iter().find(|(own, keys)| own == name && keys.get("type").is_some_and(|own| own == kind));
    &found.unwrap_or_else(|| panic!("no [{name}] of type {kind}")).1
}

/// Where the reference topology has the proxy and the prod PBX.
fn listener_and_prod() -> (String, String) {
    let schema = text("docs/reference/config.md");
    let listen = schema.lines().find(|line| line.starts_with("| `listen` | list of addresses")).unwrap();
    let proxy = listen.split("udp:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let targets = schema.lines().find(|line| line.starts_with("targets `udp:")).unwrap();
    (proxy, targets.split("udp:").nth(1).unwrap().split('`').next().unwrap().to_owned())
}

#[test]
fn both_sides_send_to_the_proxy_and_believe_it() {
    let (proxy, prod) = listener_and_prod();
    for file in ["deploy/asterisk/nuc/pjsip_switchyard.conf", "deploy/asterisk/pbx/pjsip_switchyard.conf"] {
        let all = sections(file);
        let endpoint = section(&all, "switchyard", "endpoint");
        assert_eq!(section(&all, "switchyard", "aor")["contact"], format!("sip:{proxy}"), "{file}");
        let host = proxy.split(':').next().unwrap();
        assert!(section(&all, "switchyard", "identify")["match"].starts_with(host), "{file}");
        for (key, value) in [
            ("direct_media", "no"),
            ("bind_rtp_to_media_address", "yes"),
            ("trust_id_inbound", "yes"),
            ("transport", "transport-tunnel"),
            ("context", "from-switchyard"),
        ] {
            assert_eq!(endpoint[key], value, "{file}: {key}");
        }
        for transport in ["transport-tunnel", "transport-tunnel-tcp"] {
            assert_eq!(section(&all, transport, "transport")["local_net"], "10.10.10.0/24", "{file}: {transport}");
        }
        let bind = &section(&all, "transport-tunnel", "transport")["bind"];
        assert!(bind.starts_with(&endpoint["media_address"]), "{file}: {bind}");
    }
    let nuc = sections("deploy/asterisk/nuc/pjsip_switchyard.conf");
    assert_eq!(section(&nuc, "prod-pbx", "aor")["contact"], format!("sip:{prod}"));
    assert_eq!(section(&nuc, "switchyard", "aor")["qualify_2xx_only"], "yes", "a 503 has to count as away");
}

#[test]
fn media_has_the_ports_that_the_packet_filters_let_through() {
    let rtp = sections("deploy/asterisk/pbx/rtp.conf");
    let keys = &rtp.first().unwrap().1;
    let range = format!("udp dport {}-{} accept", keys["rtpstart"], keys["rtpend"]);
    for filter in ["deploy/wireguard/prod.nft", "deploy/wireguard/spoke.nft"] {
        assert!(text(filter).contains(&range), "{filter} has no {range:?}");
    }
}

#[test]
fn the_dialplans_name_no_number_and_the_header_of_the_configuration() {
    let full = text("fixtures/configs/valid/full.toml");
    let header = full.lines().find_map(|line| line.strip_prefix("endpoint_header = \"")?.split('"').next()).unwrap();
    assert!(text("deploy/asterisk/pbx/extensions_switchyard.conf").contains(&format!("add,{header})")));
    for file in ["deploy/asterisk/nuc/extensions_switchyard.conf", "deploy/asterisk/pbx/extensions_switchyard.conf"] {
        for line in text(file).lines().filter(|line| line.trim_start().starts_with("exten")) {
            let longest = line.split(|letter: char| !letter.is_ascii_digit()).map(str::len).max().unwrap_or_default();
            assert!(longest < 7, "{file}: a number stands in {line:?}");
        }
    }
}
