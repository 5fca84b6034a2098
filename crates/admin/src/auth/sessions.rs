//! Browser sessions: somebody who has shown a token once, and has a cookie for it. A restart ends them all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::limits::SESSIONS_MAX;

/// What a cookie is looked up by: its hash, so that the table tells nobody a cookie.
pub(crate) type SessionKey = [u8; 32];

/// The sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    life: Duration,
    open: Mutex<HashMap<SessionKey, Session>>,
}

#[derive(Debug)]
struct Session {
    token_id: String,
    ends_at: Instant,
    seen_at: Instant,
}

impl Sessions {
    /// Each ends after `life`.
    pub(crate) fn new(life: Duration) -> Sessions {
        Sessions { life, open: Mutex::default() }
    }

    /// Opens one for whom this token belongs to; the answer is the cookie. Where there are as many as there may be, the
    /// one that was not used for longest ends.
    pub(crate) fn open(&self, token_id: &str, now: Instant) -> Result<String, getrandom::Error> {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret)?;
        let cookie = URL_SAFE_NO_PAD.encode(secret);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| now < session.ends_at);
        if open.len() >= SESSIONS_MAX {
            let oldest = open.iter().min_by_key(|(_, session)| session.seen_at).map(|(key, _)| *key);
            oldest.and_then(|key| open.remove(&key));
            tracing::warn!(limit = SESSIONS_MAX, "limit sessions: the one that was not used for longest has ended");
        }
        let session = Session { token_id: token_id.to_owned(), ends_at: now + self.life, seen_at: now };
        open.insert(key_of(&cookie), session);
        Ok(cookie)
    }

    /// The token's id of the session that this cookie belongs to.
    pub(crate) fn token_of(&self, key: &SessionKey, now: Instant) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(key).filter(|session| now < session.ends_at)?;
        session.seen_at = now;
        Some(session.token_id.clone())
    }

    /// Ends one.
    pub(crate) fn end(&self, key: &SessionKey) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub(crate) fn life(&self) -> Duration {
        self.life
    }
}

/// What a cookie is looked up by.
pub(crate) fn key_of(cookie: &str) -> SessionKey {
    *blake3::hash(cookie.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_time_or_when_it_is_ended() {
        let (sessions, begun) = (Sessions::new(Duration::from_secs(60)), Instant::now());
        let cookie = sessions.open("a1", begun).unwrap();
        let key = key_of(&cookie);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(sessions.token_of(&key, at(59)).as_deref(), Some("a1"));
        assert_eq!(sessions.token_of(&key, at(60)), None, "use does not make it longer");
        let cookie = sessions.open("a1", begun).unwrap();
        sessions.end(&key_of(&cookie));
        assert_eq!(sessions.token_of(&key_of(&cookie), begun), None);
        assert_eq!(sessions.token_of(&key_of("guessed"), begun), None);
    }

    #[test]
    fn beyond_the_limit_the_session_that_was_not_used_for_longest_ends() {
        let (sessions, begun) = (Sessions::new(Duration::from_secs(100_000)), Instant::now());
        let mut cookies = Vec::new();
        for second in 0..SESSIONS_MAX as u64 {
            cookies.push(sessions.open("a1", begun + Duration::from_secs(second)).unwrap());
        }
        let late = begun + Duration::from_secs(50_000);
        assert!(sessions.token_of(&key_of(&cookies[0]), late).is_some(), "used again");
        sessions.open("a1", late).unwrap();
        assert!(sessions.token_of(&key_of(&cookies[0]), late).is_some());
        assert_eq!(sessions.token_of(&key_of(&cookies[1]), late), None);
        assert_eq!(sessions.open.lock().unwrap().len(), SESSIONS_MAX);
    }
}
