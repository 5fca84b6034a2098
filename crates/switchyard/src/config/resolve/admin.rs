//! Who may ask what over the admin listener.

use super::Resolver;
use crate::config::fault::Key;
use crate::config::limits::{ADMIN_HOSTS, ADMIN_ROLES, HEADER_BYTES};
use crate::config::settings::{AccessSettings, AdminSettings};
use ::admin::{AuthSettings, Numbers, Role, TeamSettings};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const SESSION_LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);
const ADDRESS: &str = "a port, or an address with its port, such as 127.0.0.1:9161 or [::1]:9161";

impl Resolver<'_, '_> {
    /// The admin listener; `None` where there is to be none.
    pub(super) fn admin(&mut self, settings: &AdminSettings) -> Option<AuthSettings> {
        let table = Key::of("admin");
        let written = settings.listen.as_deref();
        let listen = written.and_then(|written| self.admin_listen(&table.name("listen"), written));
        if settings.hosts.len() > ADMIN_HOSTS {
            self.refuse(&table.name("hosts"), "", format!("at most {ADMIN_HOSTS} names"));
        }
        for (index, host) in settings.hosts.iter().enumerate() {
            let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
            if host.is_empty() || host.len() > 255 || !host.chars().all(is_host) {
                let expected = "a host name in small letters, with its port where that is not the scheme's";
                self.refuse(&table.name("hosts").index(index), host, expected);
            }
        }
        let client_header = settings.client_header.as_deref().map(|name| {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if name.is_empty() || name.len() > HEADER_BYTES || !is_name {
                self.refuse(&table.name("client_header"), name, "the name of a header, such as Cf-Connecting-Ip");
            }
            name.to_ascii_lowercase()
        });
        let is_loopback = listen.is_none_or(|address| address.ip().is_loopback());
        if settings.anonymous_viewer && !is_loopback {
            let why = "whoever reaches the address would see everything";
            self.refuse_since(&table.name("anonymous_viewer"), "true", "false where listen is not of loopback", why);
        }
        let viewers_see = match settings.viewers_see.as_str() {
            "part" => Numbers::Part,
            "whole" => Numbers::Whole,
            other => {
                self.refuse(&table.name("viewers_see"), other, "whole or part");
                Numbers::Part
            }
        };
        let shortest = Duration::from_secs(60);
        let session_life =
            self.duration(&table.name("session_life"), &settings.session_life, shortest..=SESSION_LIFE_MAX);
        let team = settings.access.as_ref().map(|access| self.team(&table.name("access"), access));
        Some(AuthSettings {
            listen: listen?,
            hosts: settings.hosts.clone(),
            behind_tls: settings.behind_tls,
            client_header,
            anonymous_viewer: settings.anonymous_viewer,
            viewers_see,
            session_life,
            team,
        })
    }

    fn admin_listen(&mut self, key: &Key, written: &str) -> Option<SocketAddr> {
        let port = written.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let address = port.or_else(|| written.parse().ok()).filter(|address| !address.ip().is_unspecified());
        if address.is_none() {
            self.refuse(key, written, ADDRESS);
        }
        address
    }

    fn team(&mut self, table: &Key, access: &AccessSettings) -> TeamSettings {
        let AccessSettings { team, audiences, keys_url, roles } = access;
        let is_domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if !team.contains('.') || !team.chars().all(is_domain) {
            self.refuse(&table.name("team"), team, "the team's domain, such as example.cloudflareaccess.com");
        }
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            let why = "without one any application of the team would do";
            self.refuse_since(&table.name("audiences"), "", "the tag of each application that is ours", why);
        }
        let issuer = format!("https://{team}");
        let keys_url = keys_url.clone().unwrap_or_else(|| format!("{issuer}/cdn-cgi/access/certs"));
        if !is_keys_url(&keys_url) {
            let why = "who can change the keys on their way can be anybody";
            self.refuse_since(&table.name("keys_url"), &keys_url, "an https URL, or an http URL of loopback", why);
        }
        TeamSettings { issuer, keys_url, audiences: audiences.clone(), roles: self.roles(&table.name("roles"), roles) }
    }

    fn roles(&mut self, table: &Key, written: &BTreeMap<String, String>) -> BTreeMap<String, Role> {
        if written.is_empty() || written.len() > ADMIN_ROLES {
            self.refuse(table, "", format!("1 to {ADMIN_ROLES} e-mail addresses with a role each"));
        }
        let mut roles = BTreeMap::new();
        for (email, role) in written {
            let key = table.name(email);
            let domain = email.split_once('@').map(|(_, domain)| domain).unwrap_or_default();
            if domain.is_empty() || domain.contains('@') || *email != email.to_lowercase() {
                self.refuse(&key, role, "an e-mail address, or @ and a domain, in small letters, as the key");
            }
            match role.parse() {
                Ok(role) => {
                    roles.insert(email.clone(), role);
                }
                Err(_) => self.refuse(&key, role, "viewer, operator or admin"),
            }
        }
        roles
    }
}

/// TLS, or nothing on the way.
fn is_keys_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<hyper::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        _ => false,
    }
}
