//! Caller-ID settings of a head: `identity: PARTY = KEY VALUE, ...` and `caller_id: KEY = VALUE`.

use proxy::settings::{CallerIdSettings, DisplayRule, HeaderRule, HostRule, IdentitySettings, OnForeign, Profile};
use sip::{Form, Numbering};

/// Applies a list of settings to a party. Every key but `pass` and those of environments gives the party a profile.
pub(crate) fn identity(identity: &mut IdentitySettings, list: &str) -> Result<(), String> {
    for item in list.split(',').map(str::trim) {
        let (key, value) = item.split_once(' ').unwrap_or((item, ""));
        let value = value.trim();
        match key {
            "pass" => identity.profile = None,
            "rewrite" => identity.profile = Some(Profile::default()),
            "untrusted" => identity.is_untrusted = true,
            "refuses_emergency" => identity.refuses_emergency = true,
            "organisations" => identity.organisations = Some(value.split_whitespace().map(Box::from).collect()),
            "trunk_ids" => identity.trunk_ids = value.split_whitespace().map(Box::from).collect(),
            "providers" => identity.providers = value.split_whitespace().map(Box::from).collect(),
            "fallback" => {
                let number = Numbering::default().canonical(value.as_bytes());
                identity.fallback_did = Some(number.map_err(|fault| format!("{value}: {fault}"))?);
            }
            _ => profile(identity.profile.get_or_insert_default(), key, value)?,
        }
    }
    Ok(())
}

fn profile(profile: &mut Profile, key: &str, value: &str) -> Result<(), String> {
    match key {
        "number" => profile.number = form(value)?,
        "from" => profile.in_from = truth(value)?,
        "asserted" => profile.in_asserted = truth(value)?,
        "preferred" => profile.preferred = rule(value)?,
        "remote_party" => profile.remote_party = rule(value)?,
        "diversion" => profile.diversion = rule(value)?,
        "history_info" => profile.history = rule(value)?,
        "host" => {
            profile.host = match value {
                "as_is" => HostRule::AsIs,
                "ours" => HostRule::Ours,
                domain => HostRule::Domain(domain.into()),
            }
        }
        "display" => {
            profile.display = match value {
                "keep" => DisplayRule::Keep,
                "remove" => DisplayRule::Remove,
                "organisation" => DisplayRule::Organisation,
                _ => return Err(format!("found {value:?}, expected keep, remove or organisation")),
            }
        }
        "user_phone" => profile.user_phone = truth(value)?,
        "pass_forwarded_caller" => profile.pass_forwarded_caller = truth(value)?,
        _ => return Err(format!("found {key:?}, expected a setting of fixtures/calls/README.md")),
    }
    Ok(())
}

/// One setting that holds for every caller.
pub(crate) fn caller_id(settings: &mut CallerIdSettings, key: &str, value: &str) -> Result<(), String> {
    match key {
        "endpoint_header" => settings.endpoint_header = Some(value.into()),
        "on_foreign" => {
            settings.on_foreign = match value {
                "replace" => OnForeign::Replace,
                "reject" => OnForeign::Reject,
                _ => return Err(format!("found {value:?}, expected replace or reject")),
            }
        }
        "emergency" => settings.emergency = value.split_whitespace().map(Box::from).collect(),
        _ => return Err(format!("found {key:?}, expected endpoint_header, on_foreign or emergency")),
    }
    Ok(())
}

fn form(value: &str) -> Result<Form, String> {
    match value {
        "+e164" => Ok(Form::PlusE164),
        "e164" => Ok(Form::E164),
        "national" => Ok(Form::National),
        "00e164" => Ok(Form::ZeroZeroE164),
        _ => Err(format!("found {value:?}, expected +e164, e164, national or 00e164")),
    }
}

fn rule(value: &str) -> Result<HeaderRule, String> {
    match value {
        "keep" => Ok(HeaderRule::Keep),
        "rewrite" => Ok(HeaderRule::Rewrite),
        "remove" => Ok(HeaderRule::Remove),
        _ => Err(format!("found {value:?}, expected keep, rewrite or remove")),
    }
}

fn truth(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("found {value:?}, expected true or false"))
}
