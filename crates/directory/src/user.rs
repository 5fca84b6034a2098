//! Users, by endpoint, by username and by extension.

use std::cmp::Ordering;

use sip::Number;

use crate::row_key::RowKey;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UserRecord {
    pub(crate) key: RowKey,
    /// The place of a known organisation.
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
    /// Whether both say the same, the time of the last change not counted.
    pub(crate) fn says_the_same(&self, other: &UserRecord) -> bool {
        let facts =
            |user: &UserRecord| (user.key, user.organisation, user.outbound_did, user.is_active, user.kept_last_good);
        facts(self) == facts(other)
            && self.username == other.username
            && self.extension == other.extension
            && self.endpoint == other.endpoint
    }
}

/// Users and their indexes, each a list of places in order of the key.
#[derive(Clone, Default, Debug)]
pub(crate) struct Users {
    records: Vec<UserRecord>,
    by_endpoint: Vec<u32>,
    by_username: Vec<u32>,
    /// By extension, then organisation.
    by_extension: Vec<u32>,
}

impl Users {
    /// Indexes these users. The first of several with one endpoint, or one extension in one organisation, is the one
    /// that a lookup finds; so is the first of several with one username.
    pub(crate) fn new(records: Vec<UserRecord>) -> Users {
        let mut users = Users { records, ..Users::default() };
        users.by_endpoint = users.sorted(|user| &user.endpoint, |user| (&*user.endpoint, 0));
        users.by_username = users.sorted(|user| &user.username, |user| (&*user.username, user.organisation));
        users.by_extension = users.sorted(|user| &user.extension, |user| (&*user.extension, user.organisation));
        users
    }

    /// The places of the users whose `named` text is not empty, by `key`, one place for each key.
    fn sorted<'u>(&'u self, named: fn(&UserRecord) -> &str, key: fn(&'u UserRecord) -> (&'u str, u32)) -> Vec<u32> {
        let named = (0_u32..).zip(&self.records).filter(|(_, user)| !named(user).is_empty());
        let mut places: Vec<(u32, &UserRecord)> = named.collect();
        places.sort_by(|a, b| key(a.1).cmp(&key(b.1)));
        places.dedup_by(|later, first| key(later.1) == key(first.1));
        places.into_iter().map(|(place, _)| place).collect()
    }

    pub(crate) fn records(&self) -> &[UserRecord] {
        &self.records
    }

    pub(crate) fn by_endpoint(&self, endpoint: &[u8]) -> Option<&UserRecord> {
        self.equal(&self.by_endpoint, |user| user.endpoint.as_bytes().cmp(endpoint)).next()
    }

    /// The user of this name, when only one organisation has one.
    pub(crate) fn by_username(&self, username: &[u8]) -> Option<&UserRecord> {
        let mut found = self.equal(&self.by_username, |user| user.username.as_bytes().cmp(username));
        found.next().filter(|_| found.next().is_none())
    }

    pub(crate) fn by_extension(&self, organisation: u32, extension: &[u8]) -> Option<&UserRecord> {
        let key = (extension, organisation);
        self.equal(&self.by_extension, |user| (user.extension.as_bytes(), user.organisation).cmp(&key)).next()
    }

    /// The users that have this extension, one of each organisation.
    pub(crate) fn with_extension(&self, extension: &[u8]) -> impl Iterator<Item = &UserRecord> {
        self.equal(&self.by_extension, move |user| user.extension.as_bytes().cmp(extension))
    }

    /// The users of an index for which `order` says equal.
    fn equal<'u>(
        &'u self,
        index: &'u [u32],
        order: impl Fn(&UserRecord) -> Ordering,
    ) -> impl Iterator<Item = &'u UserRecord> {
        let start = index.partition_point(|&place| self.at(place).is_some_and(|user| order(user).is_lt()));
        let rest = index.get(start..).unwrap_or_default();
        let users = rest.iter().filter_map(|&place| self.at(place));
        users.take_while(move |user| order(user).is_eq())
    }

    fn at(&self, place: u32) -> Option<&UserRecord> {
        self.records.get(usize::try_from(place).ok()?)
    }
}
