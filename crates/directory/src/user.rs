//! Users, by endpoint, by username and by extension.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use sip::Number;

use crate::did_table::DidFields;
use crate::fault::{Reason, shown_id};
use crate::ordered::Ordered;
use crate::row_key::RowKey;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UserRecord {
    pub(crate) key: RowKey,
    /// Its id, when that is no UUID.
    pub(crate) odd_id: Option<Box<str>>,
    /// The place of the organisation that the row names.
    pub(crate) organisation: u32,
    pub(crate) username: Box<str>,
    pub(crate) extension: Box<str>,
    pub(crate) endpoint: Box<str>,
    pub(crate) outbound_did: Option<Number>,
    pub(crate) is_active: bool,
    pub(crate) kept_last_good: bool,
    pub(crate) updated_at_s: u32,
}

impl UserRecord {
    /// Whether both say the same, the time of the last change and the organisation not counted.
    pub(crate) fn says_the_same(&self, other: &UserRecord) -> bool {
        let facts = |user: &UserRecord| (user.key, user.outbound_did, user.is_active, user.kept_last_good);
        facts(self) == facts(other)
            && self.username == other.username
            && self.extension == other.extension
            && self.endpoint == other.endpoint
    }

    /// Its id for a report.
    pub(crate) fn id_text(&self) -> String {
        self.odd_id.as_ref().map_or_else(|| self.key.as_uuid(), |id| shown_id(Some(id.as_bytes())))
    }

    /// Of two users with one endpoint, extension or username, the lesser is in effect.
    fn rank(&self, other: &UserRecord) -> Ordering {
        let rank = |user: &UserRecord| Reverse((user.is_active, user.updated_at_s));
        let ids = || match (&self.odd_id, &other.odd_id) {
            (None, None) => self.key.cmp(&other.key),
            _ => self.id_text().cmp(&other.id_text()).then(self.key.cmp(&other.key)),
        };
        rank(self).cmp(&rank(other)).then_with(ids)
    }

    fn endpoint_order(&self, other: &UserRecord) -> Ordering {
        self.endpoint.cmp(&other.endpoint).then_with(|| self.rank(other))
    }

    fn username_order(&self, other: &UserRecord) -> Ordering {
        self.username
            .cmp(&other.username)
            .then(self.organisation.cmp(&other.organisation))
            .then_with(|| self.rank(other))
    }

    fn extension_order(&self, other: &UserRecord) -> Ordering {
        self.extension
            .cmp(&other.extension)
            .then(self.organisation.cmp(&other.organisation))
            .then_with(|| self.rank(other))
    }

    fn outbound_order(&self, other: &UserRecord) -> Ordering {
        (self.outbound_did, self.key).cmp(&(other.outbound_did, other.key))
    }

    /// What is wrong with the user's `outbound_did`, given the DID of that number.
    pub(crate) fn outbound_fault(&self, did: Option<DidFields>) -> Option<Reason> {
        self.outbound_did?;
        match did {
            Some(did) if did.place() == Some(self.organisation) => None,
            Some(_) => Some(Reason::ForeignDid),
            None => Some(Reason::UnknownDid),
        }
    }
}

/// Users and their indexes. A user whose organisation is unknown is kept, and is in no index.
#[derive(Clone, Default, Debug)]
pub(crate) struct Users {
    /// All of them, by key.
    rows: Ordered<Arc<UserRecord>>,
    by_endpoint: Ordered<Arc<UserRecord>>,
    by_username: Ordered<Arc<UserRecord>>,
    by_extension: Ordered<Arc<UserRecord>>,
    by_outbound_did: Ordered<Arc<UserRecord>>,
    in_effect: usize,
    duplicates: u32,
}

impl Users {
    /// Indexes these users; `is_known` says which organisation is.
    pub(crate) fn new(mut users: Vec<UserRecord>, is_known: impl Fn(u32) -> bool) -> Users {
        users.sort_by_key(|user| user.key);
        let rows: Vec<Arc<UserRecord>> = users.into_iter().map(Arc::new).collect();
        let in_effect: Vec<&Arc<UserRecord>> = rows.iter().filter(|user| is_known(user.organisation)).collect();
        let sorted = |is_in: fn(&UserRecord) -> bool, order: fn(&UserRecord, &UserRecord) -> Ordering| {
            let mut users: Vec<Arc<UserRecord>> =
                in_effect.iter().filter(|user| is_in(user)).map(|user| Arc::clone(user)).collect();
            users.sort_by(|a, b| order(a, b));
            Ordered::from_sorted(users)
        };
        let mut users = Users {
            by_endpoint: sorted(|user| !user.endpoint.is_empty(), UserRecord::endpoint_order),
            by_username: sorted(|user| !user.username.is_empty(), UserRecord::username_order),
            by_extension: sorted(|user| !user.extension.is_empty(), UserRecord::extension_order),
            by_outbound_did: sorted(|user| user.outbound_did.is_some(), UserRecord::outbound_order),
            in_effect: in_effect.len(),
            duplicates: 0,
            rows: Ordered::default(),
        };
        let duplicates = users.duplicates().count();
        users.duplicates = u32::try_from(duplicates).unwrap_or(u32::MAX);
        users.rows = Ordered::from_sorted(rows);
        users
    }

    /// Every user, in effect or not, by key.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Arc<UserRecord>> {
        self.rows.iter()
    }

    pub(crate) fn row(&self, key: RowKey) -> Option<&Arc<UserRecord>> {
        self.rows.find(|user| user.key.cmp(&key))
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Whether both are the same in memory.
    pub(crate) fn is_same(&self, other: &Users) -> bool {
        self.rows.is_same(&other.rows)
    }

    /// How many users have a known organisation.
    pub(crate) fn in_effect(&self) -> usize {
        self.in_effect
    }

    /// How many entries [`Users::duplicates`] has.
    pub(crate) fn duplicate_count(&self) -> u32 {
        self.duplicates
    }

    /// Takes a user in; there is none of its key.
    pub(crate) fn insert(&mut self, user: &Arc<UserRecord>, is_known: bool) {
        self.rows.insert(Arc::clone(user), |other| other.key.cmp(&user.key));
        if is_known {
            self.put_in_effect(user);
        }
    }

    /// Takes the user of this key out.
    pub(crate) fn remove(&mut self, key: RowKey, is_known: bool) -> Option<Arc<UserRecord>> {
        let user = self.rows.remove(|other| other.key.cmp(&key))?;
        if is_known {
            self.put_out_of_effect(&user);
        }
        Some(user)
    }

    /// Indexes a user whose organisation has become known.
    pub(crate) fn put_in_effect(&mut self, user: &Arc<UserRecord>) {
        self.in_effect += 1;
        if !user.endpoint.is_empty() {
            self.duplicates += u32::from(self.by_endpoint(user.endpoint.as_bytes()).is_some());
            self.by_endpoint.insert(Arc::clone(user), |other| other.endpoint_order(user));
        }
        if !user.username.is_empty() {
            self.by_username.insert(Arc::clone(user), |other| other.username_order(user));
        }
        if !user.extension.is_empty() {
            let other = self.by_extension(user.organisation, user.extension.as_bytes());
            self.duplicates += u32::from(other.is_some());
            self.by_extension.insert(Arc::clone(user), |other| other.extension_order(user));
        }
        if user.outbound_did.is_some() {
            self.by_outbound_did.insert(Arc::clone(user), |other| other.outbound_order(user));
        }
    }

    /// Takes a user whose organisation is no longer known out of the indexes.
    pub(crate) fn put_out_of_effect(&mut self, user: &UserRecord) {
        self.in_effect -= 1;
        if self.by_endpoint.remove(|other| other.endpoint_order(user)).is_some() {
            self.duplicates -= u32::from(self.by_endpoint(user.endpoint.as_bytes()).is_some());
        }
        self.by_username.remove(|other| other.username_order(user));
        if self.by_extension.remove(|other| other.extension_order(user)).is_some() {
            let other = self.by_extension(user.organisation, user.extension.as_bytes());
            self.duplicates -= u32::from(other.is_some());
        }
        self.by_outbound_did.remove(|other| other.outbound_order(user));
    }

    pub(crate) fn by_endpoint(&self, endpoint: &[u8]) -> Option<&UserRecord> {
        self.by_endpoint.find(|user| user.endpoint.as_bytes().cmp(endpoint)).map(|user| &**user)
    }

    /// The user of this name, when only one organisation has one.
    pub(crate) fn by_username(&self, username: &[u8]) -> Option<&UserRecord> {
        let order = |user: &Arc<UserRecord>| user.username.as_bytes().cmp(username);
        let first = self.by_username.find(order)?;
        // The first user of this name in an organisation of a higher place, when there is one, comes next.
        let others = |user: &Arc<UserRecord>| {
            order(user)
                .then_with(|| if user.organisation > first.organisation { Ordering::Equal } else { Ordering::Less })
        };
        self.by_username.find(others).is_none().then_some(first)
    }

    pub(crate) fn by_extension(&self, organisation: u32, extension: &[u8]) -> Option<&UserRecord> {
        let key = (extension, organisation);
        self.by_extension.find(|user| (user.extension.as_bytes(), user.organisation).cmp(&key)).map(|user| &**user)
    }

    /// The users that have this extension, one of each organisation.
    pub(crate) fn with_extension(&self, extension: &[u8]) -> impl Iterator<Item = &UserRecord> {
        let mut last = None;
        let users = self.by_extension.equal(move |user| user.extension.as_bytes().cmp(extension));
        users.filter(move |user| last.replace(user.organisation) != Some(user.organisation)).map(|user| &**user)
    }

    /// The users in effect that ask for this DID.
    pub(crate) fn with_outbound_did(&self, number: Number) -> impl Iterator<Item = &Arc<UserRecord>> {
        self.by_outbound_did.equal(move |user| user.outbound_did.cmp(&Some(number)))
    }

    /// The users in effect that ask for any DID.
    pub(crate) fn with_any_outbound_did(&self) -> impl Iterator<Item = &Arc<UserRecord>> {
        self.by_outbound_did.iter()
    }

    /// Every user that another one of the same endpoint or extension keeps from being found: the column, the user, and
    /// the other one.
    pub(crate) fn duplicates(&self) -> impl Iterator<Item = (&'static str, &UserRecord, &UserRecord)> {
        let endpoints = later_ones(&self.by_endpoint, |a, b| a.endpoint == b.endpoint);
        let same = |a: &UserRecord, b: &UserRecord| a.organisation == b.organisation && a.extension == b.extension;
        let extensions = later_ones(&self.by_extension, same);
        endpoints
            .map(|(user, first)| ("asterisk_endpoint", user, first))
            .chain(extensions.map(|(user, first)| ("extension", user, first)))
    }
}

/// Of every run of users that are the same, all but the first, each with the first.
fn later_ones(
    users: &Ordered<Arc<UserRecord>>,
    is_same: impl Fn(&UserRecord, &UserRecord) -> bool,
) -> impl Iterator<Item = (&UserRecord, &UserRecord)> {
    let mut first: Option<&UserRecord> = None;
    users.iter().filter_map(move |user| {
        let of_run = first.filter(|first| is_same(first, user));
        first = of_run.or(Some(user));
        of_run.map(|first| (&**user, first))
    })
}
