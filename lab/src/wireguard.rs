//! The tunnels: the very files of `deploy/wireguard`, filled with keys that are made for this run.

use crate::Node;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

/// The port that the hub listens on.
pub(crate) const PORT: u16 = 51_820;

/// Public and private key of each node.
pub(crate) struct Keys(BTreeMap<Node, (String, String)>);

impl Keys {
    /// Makes new ones with `wg`.
    pub(crate) fn generate() -> Result<Keys> {
        let mut keys = BTreeMap::new();
        for node in Node::ALL {
            let private = wg("genkey", "")?;
            keys.insert(node, (wg("pubkey", &private)?, private));
        }
        Ok(Keys(keys))
    }

    /// The configuration of `node`. `endpoint` is where it finds the hub.
    pub(crate) fn configuration(&self, node: Node, endpoint: SocketAddrV4) -> Result<String> {
        let mut text = template(node).to_owned();
        for (other, (public, private)) in &self.0 {
            let name = other.name().to_uppercase();
            text = text.replace(&format!("${{{name}_PUBLIC_KEY}}"), public);
            text = text.replace(&format!("${{{name}_PRIVATE_KEY}}"), private);
        }
        text = text.replace("${PROD_ENDPOINT}", &endpoint.to_string());
        let unfilled = text.lines().find(|line| !line.starts_with('#') && line.contains("${"));
        match unfilled {
            Some(line) => bail!("deploy/wireguard/{}.conf: nothing to fill in for {line:?}", node.name()),
            None => Ok(text),
        }
    }
}

fn template(node: Node) -> &'static str {
    match node {
        Node::Nuc => include_str!("../../deploy/wireguard/nuc.conf"),
        Node::Prod => include_str!("../../deploy/wireguard/prod.conf"),
        Node::Staging => include_str!("../../deploy/wireguard/staging.conf"),
        Node::Oss => include_str!("../../deploy/wireguard/oss.conf"),
    }
}

fn wg(command: &str, input: &str) -> Result<String> {
    let mut wg = Command::new("wg");
    let wg = wg.arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut wg = wg.context("cannot start wg; it comes with the package wireguard-tools")?;
    if let Some(mut stdin) = wg.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = wg.wait_with_output()?;
    if !output.status.success() {
        bail!("wg {command} ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_hold_no_key_and_keep_the_tunnels_size() {
        for node in Node::ALL {
            let text = template(node);
            assert!(text.contains("\nMTU = 1420\n"), "{node:?}");
            for line in text.lines().filter(|line| line.contains("Key = ")) {
                assert!(line.ends_with("_KEY}"), "{node:?}: {line}");
            }
        }
    }

    #[test]
    fn a_filled_template_has_nothing_left_to_fill() {
        let keys = Keys::generate().unwrap();
        for node in Node::ALL {
            let text = keys.configuration(node, "198.18.2.1:51820".parse().unwrap()).unwrap();
            assert!(text.contains(&format!("Address = {}/24", node.address())), "{text}");
        }
    }
}
