//! The URL of a webhook: `http` or `https`, a host, a port, a path.

use std::fmt;

/// A URL that can be posted to. It may hold a token: it shows its host alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, as the request line has them.
    pub(super) target: String,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlFault {
    /// Another scheme, or none.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// No host, or one that cannot be.
    #[error("the host cannot be read")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("the port cannot be read")]
    Port,
    /// A user or password in front of the host.
    #[error("a user in a URL is not sent; put a token into the path or query")]
    User,
    /// A character that cannot stand in a request line.
    #[error("a character that must be escaped")]
    Character,
}

impl Url {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Url, UrlFault> {
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlFault::Scheme),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlFault::Character);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@') {
            return Err(UrlFault::User);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)),
            _ => (authority, Some(if is_https { 443 } else { 80 })),
        };
        let port = port.ok_or(UrlFault::Port)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || (bare == host && host.contains([':', '[', ']'])) {
            return Err(UrlFault::Host);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { is_https, host: bare.to_owned(), port, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}/(masked)", self.host, self.port)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_never_shown_whole() {
        let url = Url::parse("https://hooks.example.net/calls?token=secret#top").unwrap();
        assert_eq!(
            (url.is_https, &*url.host, url.port, &*url.target),
            (true, "hooks.example.net", 443, "/calls?token=secret")
        );
        assert_eq!(format!("{url:?}"), "https://hooks.example.net:443/(masked)");
        let url = Url::parse("http://[::1]:8080?a").unwrap();
        assert_eq!((&*url.host, url.port, &*url.target), ("::1", 8080, "/?a"));
        let faults = [
            ("ftp://host/", UrlFault::Scheme),
            ("http:///path", UrlFault::Host),
            ("http://a:b:1/", UrlFault::Host),
            ("http://host:0/", UrlFault::Port),
            ("http://host:99999/", UrlFault::Port),
            ("http://user:word@host/", UrlFault::User),
            ("http://host/a b", UrlFault::Character),
            ("http://host/a\r\nHost: b", UrlFault::Character),
        ];
        for (text, fault) in faults {
            assert_eq!(Url::parse(text), Err(fault), "{text}");
        }
    }
}
