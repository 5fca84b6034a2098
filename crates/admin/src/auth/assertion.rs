//! What Cloudflare Access says of a request: a JSON Web Token (RFC 7519) in `Cf-Access-Jwt-Assertion`, signed by the
//! team's keys. Only RS256 is known: a token that names another algorithm, or none, is refused before any key is looked
//! at, so that a public key is never taken for a shared secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use crate::limits::{ASSERTION_BYTES_MAX, TEAM_KEYS_MAX};

/// How far the clock of whoever signs may be ahead of ours.
const AHEAD_MAX_S: u64 = 30;

/// The keys of a team, by id.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct TeamKeys(Vec<TeamKey>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct TeamKey {
    id: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// What must stand in a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'e> {
    /// Who signs: `https://TEAM.cloudflareaccess.com`.
    pub(crate) issuer: &'e str,
    /// The tags of the applications that are ours.
    pub(crate) audiences: &'e [String],
    pub(crate) now_s: u64,
}

/// Why a token is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum AssertionFault {
    #[error("it is no JSON Web Token")]
    Shape,
    #[error("found the algorithm {0:?}, expected RS256")]
    Algorithm(String),
    #[error("it is signed by a key that the team does not have")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("found the issuer {0:?}, expected the team's")]
    Issuer(String),
    #[error("it is for another application")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it does not count yet")]
    Early,
    #[error("it names no e-mail address")]
    NoEmail,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that must be understood: there are none that we do.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audiences,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    email: String,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audiences {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

/// A set of keys (RFC 7517) as the team's address serves it.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<JsonKey>,
}

#[derive(Deserialize)]
struct JsonKey {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl TeamKeys {
    /// Reads a set of keys; what is no RSA key is left out.
    pub(crate) fn read(json: &[u8]) -> Option<TeamKeys> {
        let set: KeySet = serde_json::from_slice(json).ok()?;
        let keys = set.keys.into_iter().filter(|key| key.kty == "RSA" && !key.kid.is_empty());
        let keys = keys.filter_map(|key| {
            let (modulus, exponent) = (decoded(&key.n)?, decoded(&key.e)?);
            Some(TeamKey { id: key.kid, modulus, exponent })
        });
        let keys: Vec<TeamKey> = keys.take(TEAM_KEYS_MAX).collect();
        (!keys.is_empty()).then_some(TeamKeys(keys))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The e-mail address, in small letters, of whom a token is about.
    pub(crate) fn verify(&self, token: &str, expected: Expected<'_>) -> Result<String, AssertionFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(AssertionFault::Shape)?;
        let (head, claims) = signed.split_once('.').ok_or(AssertionFault::Shape)?;
        if token.len() > ASSERTION_BYTES_MAX || claims.contains('.') {
            return Err(AssertionFault::Shape);
        }
        let head: Head = json(head)?;
        if head.alg != "RS256" {
            return Err(AssertionFault::Algorithm(head.alg.chars().take(16).collect()));
        }
        if head.crit.is_some() {
            return Err(AssertionFault::Shape);
        }
        let key = self.0.iter().find(|key| key.id == head.kid).ok_or(AssertionFault::UnknownKey)?;
        let public = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
        let signature = decoded(signature).ok_or(AssertionFault::Shape)?;
        let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature);
        verified.map_err(|_| AssertionFault::Signature)?;
        json::<Claims>(claims)?.held(expected)
    }
}

impl Claims {
    /// Holds what was signed to what is expected.
    fn held(self, expected: Expected<'_>) -> Result<String, AssertionFault> {
        let Expected { issuer, audiences, now_s } = expected;
        if self.iss.trim_end_matches('/') != issuer {
            return Err(AssertionFault::Issuer(self.iss.chars().take(128).collect()));
        }
        let named = match self.aud {
            Audiences::None => Vec::new(),
            Audiences::One(one) => vec![one],
            Audiences::Many(many) => many,
        };
        if !named.iter().any(|audience| audiences.contains(audience)) {
            return Err(AssertionFault::Audience);
        }
        if self.exp <= now_s {
            return Err(AssertionFault::Expired);
        }
        if self.nbf.max(self.iat) > now_s.saturating_add(AHEAD_MAX_S) {
            return Err(AssertionFault::Early);
        }
        let email = self.email.trim().to_lowercase();
        if email.is_empty() || email.len() > 254 || email.chars().any(char::is_control) {
            return Err(AssertionFault::NoEmail);
        }
        Ok(email)
    }
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AssertionFault> {
    let bytes = decoded(part).ok_or(AssertionFault::Shape)?;
    serde_json::from_slice(&bytes).map_err(|_| AssertionFault::Shape)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
