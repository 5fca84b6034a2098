//! What the file says of the admin listener.

use serde::Deserialize;
use std::collections::BTreeMap;

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// The address of the API and the page; none unless given. A port alone is one of loopback.
    pub listen: Option<String>,
    /// What stands in `Host` of requests that are for us, beside the listener's address.
    pub hosts: Vec<String>,
    /// Whether somebody before us ends the browsers' TLS.
    pub behind_tls: bool,
    /// The header in which a proxy before us names its client.
    pub client_header: Option<String>,
    /// Whether somebody on this machine who shows nothing is a viewer.
    pub anonymous_viewer: bool,
    /// How viewers are shown numbers: `whole` or `part`.
    pub viewers_see: String,
    /// How long a browser session lasts.
    pub session_life: String,
    /// The team of Cloudflare Access.
    pub access: Option<AccessSettings>,
}

/// `[admin.access]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// The team's domain: `example.cloudflareaccess.com`.
    pub team: String,
    /// The tags of the applications that are ours.
    pub audiences: Vec<String>,
    /// Where the team's keys are served; where Cloudflare serves them unless given.
    pub keys_url: Option<String>,
    /// Roles of e-mail addresses, or of `@` and a domain.
    pub roles: BTreeMap<String, String>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        AdminSettings {
            listen: None,
            hosts: Vec::new(),
            behind_tls: false,
            client_header: None,
            anonymous_viewer: false,
            viewers_see: "whole".into(),
            session_life: "12h".into(),
            access: None,
        }
    }
}
