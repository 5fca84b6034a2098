//! Who is shown to whom: the caller-ID keys, resolved.

use super::{Resolver, is_host_name};
use crate::config::fault::Key;
use crate::config::limits;
use crate::config::settings::{CallerIdSettings, EnvironmentSettings, IdentitySettings, TrunkSettings};
use proxy::settings::{self, DisplayRule, HeaderRule, HostRule, OnForeign, Profile};
use sip::{Form, Number};

/// Headers that have a meaning of their own: none of them can be the PBX's.
const KNOWN_HEADERS: [&str; 16] = [
    "via",
    "from",
    "to",
    "call-id",
    "cseq",
    "contact",
    "route",
    "record-route",
    "max-forwards",
    "content-length",
    "content-type",
    "p-asserted-identity",
    "p-preferred-identity",
    "remote-party-id",
    "diversion",
    "history-info",
];

impl Resolver<'_, '_> {
    pub(super) fn caller_id(&mut self, table: &CallerIdSettings) -> settings::CallerIdSettings {
        let at = Key::of("caller_id");
        if let Some(name) = &table.endpoint_header {
            let is_token = |c: u8| c.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&c);
            let is_name = name.len() > 1 && name.len() <= limits::HEADER_BYTES && name.bytes().all(is_token);
            if !is_name || KNOWN_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                self.refuse(&at.name("endpoint_header"), name, "a header's name of its own, as X-Astradial-Endpoint");
            }
        }
        let on_foreign = match table.on_foreign_caller_id.as_str() {
            "replace" => OnForeign::Replace,
            "reject" => OnForeign::Reject,
            other => {
                self.refuse(&at.name("on_foreign_caller_id"), other, "replace or reject");
                OnForeign::Replace
            }
        };
        let list = at.name("emergency");
        if table.emergency.len() > limits::EMERGENCY {
            self.refuse(&list, "", format!("at most {} numbers", limits::EMERGENCY));
        }
        for (index, number) in table.emergency.iter().enumerate() {
            let is_dialled = number.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'*' | b'#'));
            if !is_dialled || !(2..=8).contains(&number.len()) {
                self.refuse(&list.index(index), number, "2 to 8 digits, as they are dialled");
            }
        }
        settings::CallerIdSettings {
            endpoint_header: table.endpoint_header.as_deref().map(Box::from),
            on_foreign,
            emergency: table.emergency.iter().map(|number| Box::from(number.as_str())).collect(),
        }
    }

    pub(super) fn trunk_identity(
        &mut self,
        at: &Key,
        trunk: &TrunkSettings,
        fallback_did: Option<Number>,
    ) -> settings::IdentitySettings {
        let profile = self.profile(&at.name("identity"), &trunk.identity);
        let profile = match trunk.caller_id.as_deref() {
            None | Some("rewrite") => Some(profile),
            Some("pass") => None,
            Some(other) => {
                self.refuse(&at.name("caller_id"), other, "rewrite or pass");
                None
            }
        };
        if trunk.fallback_owner.is_some() && trunk.fallback_did.is_none() {
            self.refuse(&at.name("fallback_owner"), "", "a fallback_did beside it");
        }
        settings::IdentitySettings {
            profile,
            fallback_did,
            providers: self.names(&at.name("providers"), &trunk.providers),
            trunk_ids: self.names(&at.name("trunk_ids"), &trunk.trunk_ids),
            organisations: None,
            refuses_emergency: false,
            is_untrusted: trunk.trusted == Some(false),
        }
    }

    /// A row that two trunks name would belong to the first in silence.
    pub(super) fn refuse_shared_rows(&mut self, at: &Key, trunk: &TrunkSettings, before: &[TrunkSettings]) {
        self.refuse_shared(&at.name("providers"), &trunk.providers, before, |value, trunk| {
            trunk.providers.iter().any(|name| name == value)
        });
        self.refuse_shared(&at.name("trunk_ids"), &trunk.trunk_ids, before, |value, trunk| {
            trunk.trunk_ids.iter().any(|id| id.eq_ignore_ascii_case(value))
        });
    }

    fn refuse_shared(
        &mut self,
        list: &Key,
        values: &[String],
        before: &[TrunkSettings],
        has: fn(&str, &TrunkSettings) -> bool,
    ) {
        for (index, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
            if let Some(other) = before.iter().find(|trunk| has(value, trunk)) {
                self.refuse(&list.index(index), value, format!("a value that trunk {} does not have", other.name));
            }
        }
    }

    pub(super) fn environment_identity(&mut self, at: &Key, table: &EnvironmentSettings) -> settings::IdentitySettings {
        let refuses_emergency = match table.emergency.as_deref() {
            None | Some("carry") => false,
            Some("refuse") => true,
            Some(other) => {
                self.refuse(&at.name("emergency"), other, "carry or refuse");
                false
            }
        };
        let organisations = table.organisations.as_deref().map(|list| self.names(&at.name("organisations"), list));
        settings::IdentitySettings { organisations, refuses_emergency, ..settings::IdentitySettings::default() }
    }

    fn profile(&mut self, at: &Key, table: &IdentitySettings) -> Profile {
        let number = match table.number.as_str() {
            "+e164" => Form::PlusE164,
            "e164" => Form::E164,
            "national" => Form::National,
            "00e164" => Form::ZeroZeroE164,
            other => {
                self.refuse(&at.name("number"), other, "+e164, e164, national or 00e164");
                Form::PlusE164
            }
        };
        let display = match table.display_name.as_str() {
            "keep" => DisplayRule::Keep,
            "remove" => DisplayRule::Remove,
            "organisation" => DisplayRule::Organisation,
            other => {
                self.refuse(&at.name("display_name"), other, "keep, remove or organisation");
                DisplayRule::Remove
            }
        };
        if !table.from && !table.asserted {
            self.refuse(&at.name("asserted"), "true", "from or asserted to be true: some header carries the DID");
        }
        Profile {
            number,
            in_from: table.from,
            in_asserted: table.asserted,
            preferred: self.header_rule(&at.name("preferred"), &table.preferred),
            remote_party: self.header_rule(&at.name("remote_party"), &table.remote_party),
            diversion: self.header_rule(&at.name("diversion"), &table.diversion),
            history: self.header_rule(&at.name("history_info"), &table.history_info),
            host: self.host(at, table),
            display,
            user_phone: table.user_phone,
            pass_forwarded_caller: table.pass_forwarded_caller,
        }
    }

    fn host(&mut self, at: &Key, table: &IdentitySettings) -> HostRule {
        let key = at.name("domain");
        match (table.host.as_str(), table.domain.as_deref()) {
            ("domain", Some(domain)) => {
                if domain.len() > limits::DOMAIN_BYTES || !is_host_name(&domain.to_ascii_lowercase()) {
                    self.refuse(&key, domain, format!("a host name of up to {} bytes", limits::DOMAIN_BYTES));
                }
                HostRule::Domain(domain.into())
            }
            ("domain", None) => {
                self.refuse(&key, "", "a host name: host is \"domain\"");
                HostRule::AsIs
            }
            (_, Some(domain)) => {
                self.refuse(&key, domain, "host = \"domain\" beside it");
                HostRule::AsIs
            }
            ("as_is", None) => HostRule::AsIs,
            ("ours", None) => HostRule::Ours,
            (other, None) => {
                self.refuse(&at.name("host"), other, "as_is, domain or ours");
                HostRule::AsIs
            }
        }
    }

    fn header_rule(&mut self, key: &Key, text: &str) -> HeaderRule {
        match text {
            "keep" => HeaderRule::Keep,
            "rewrite" => HeaderRule::Rewrite,
            "remove" => HeaderRule::Remove,
            _ => {
                self.refuse(key, text, "keep, rewrite or remove");
                HeaderRule::Remove
            }
        }
    }

    fn names(&mut self, list: &Key, names: &[String]) -> Vec<Box<str>> {
        if names.len() > limits::NAMES {
            self.refuse(list, "", format!("at most {} names", limits::NAMES));
        }
        for (index, name) in names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
            self.refuse(&list.index(index), name, "a name");
        }
        names.iter().map(|name| Box::from(name.as_str())).collect()
    }
}
