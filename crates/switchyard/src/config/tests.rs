use super::*;
use directory::{Environment, PoolStatus};
use proxy::settings::UnknownDid;
use proxy::{InterfaceId, ListenerId, PartyId, Role, Time, Transport};
use sip::Form;
use std::time::Duration;

fn nothing_set(_: &str) -> Option<String> {
    None
}

fn good(text: &str) -> Configuration {
    read("test.toml", text, &nothing_set).unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = read("test.toml", text, &nothing_set).expect_err("faults");
    faults.to_string().lines().map(str::to_owned).collect()
}

fn full() -> Configuration {
    good(include_str!("../../../../fixtures/configs/valid/full.toml"))
}

#[test]
fn every_key_of_the_full_file_has_its_effect() {
    let Configuration {
        core, state_dir, database, drain_limit, metrics_listen, fallback_dids, fallback_owners, ..
    } = full();
    assert_eq!((core.environment, state_dir), (Environment::Prod, "/var/lib/switchyard".into()));
    assert_eq!(core.listeners.len(), 3);
    assert_eq!(core.own_names, ["sip.example.org".into()]);
    assert_eq!(core.adopt_until, Some(Time::from_millis(7_200_000)));
    assert_eq!(core.numbering, sip::Numbering::default());
    assert_eq!(core.dispatch.unknown_did, UnknownDid::Refuse(404));
    assert_eq!(core.dispatch.not_in_service_status, 480);
    assert!(database.policy.pool_states.contains(PoolStatus::Reserved));
    assert!(!database.policy.pool_states.contains(PoolStatus::Available));
    let mut mapping = sync::Mapping::default();
    mapping.rename_table("did_numbers", "pbx.numbers").unwrap();
    mapping.rename_column("did_numbers", "routing_environment", "environment").unwrap();
    mapping.rename_column("users", "outbound_did", "caller_id").unwrap();
    let expected = sync::Settings {
        mapping,
        detection: sync::Detection::ChangeLog,
        poll_interval: Duration::from_millis(500),
        log_poll_interval: Duration::from_millis(50),
        reconcile_interval: Duration::from_secs(120),
        query_timeout: Duration::from_secs(20),
        retry_interval_max: Duration::from_secs(5),
        guard: Some(directory::GuardPolicy {
            window_ms: 300_000,
            lost_rows: 20,
            lost_percent: 5,
            moved_dids: 10,
            moved_percent: 2,
        }),
        snapshot_dir: Some("/var/lib/switchyard/directory".into()),
        ..sync::Settings::new("mariadb://switchyard:example@10.10.10.1:3306/pbx_api_db", database.policy.clone())
    };
    assert_eq!(database, expected);
    assert_eq!(core.timers.timer_c, Duration::from_secs(200));
    assert_eq!(core.timers.hop_timeout, Duration::from_secs(3));
    assert_eq!((core.limits.transactions, core.limits.retry_after_secs), (1_000_000, 10));
    assert_eq!(drain_limit, Duration::from_secs(90));
    assert_eq!(metrics_listen, Some("127.0.0.1:9160".parse().unwrap()));
    let numbers: Vec<(PartyId, u64)> = fallback_dids.iter().map(|(id, number)| (*id, number.digits())).collect();
    assert_eq!(numbers, [(PartyId(0), 918_065_978_029)]);
    assert_eq!(fallback_owners, [(PartyId(0), "Operator".to_owned())]);
}

#[test]
fn every_key_of_availability_has_its_effect() {
    use proxy::settings::WhenDown;
    let Configuration { core, probe, .. } = full();
    let party = |name: &str| core.parties.iter().find(|party| &*party.name == name).unwrap();
    assert_eq!(
        (&*party("tata").availability.weights, &*party("tata").availability.failover_statuses),
        (&[1][..], &[500][..])
    );
    let staging = &party("staging").availability;
    assert_eq!((&*staging.weights, &*staging.failover_statuses), (&[3, 1][..], &[500, 502][..]));
    assert_eq!(staging.when_down, WhenDown::Environment(Environment::Prod));
    let WhenDown::Announcement(voice) = party("prod").availability.when_down else { panic!("no announcement") };
    assert_eq!(core.party(voice).unwrap().peers[0].address, "10.10.10.1:5090".parse().unwrap());
    assert!(core.party(voice).unwrap().sources.is_empty(), "its address is prod's already");
    let number = core.numbering.canonical(b"918065978021").unwrap();
    assert_eq!(core.availability.of(number), Some(WhenDown::Environment(Environment::Prod)));
    assert_eq!((probe.interval, probe.timeout), (Some(Duration::from_secs(10)), Duration::from_secs(1)));
    assert_eq!((probe.rules.down_after, probe.rules.up_after, probe.rules.calls_failed), (4, 3, 5));
    assert_eq!(probe.unwilling, [500, 503]);
    assert_eq!(good("probe.interval = \"0s\"").probe.interval, None);
}

#[test]
fn every_caller_id_key_has_its_effect() {
    use proxy::settings::{CallerIdSettings, DisplayRule, HeaderRule, HostRule, IdentitySettings, OnForeign, Profile};
    let core = full().core;
    let caller_id = CallerIdSettings {
        endpoint_header: Some("X-Astradial-Endpoint".into()),
        on_foreign: OnForeign::Reject,
        emergency: vec!["100".into(), "112".into()],
    };
    assert_eq!(core.caller_id, caller_id);
    let profile = Profile {
        number: Form::National,
        in_from: false,
        in_asserted: true,
        preferred: HeaderRule::Rewrite,
        remote_party: HeaderRule::Keep,
        diversion: HeaderRule::Remove,
        history: HeaderRule::Keep,
        host: HostRule::Domain("ims.example.net".into()),
        display: DisplayRule::Organisation,
        user_phone: true,
        pass_forwarded_caller: true,
    };
    let trunk = IdentitySettings {
        profile: Some(profile),
        fallback_did: sip::Number::from_digits(918_065_978_029),
        providers: vec!["tata".into()],
        trunk_ids: vec!["00000721-0000-4000-8000-00000000000a".into()],
        is_untrusted: true,
        ..IdentitySettings::default()
    };
    assert_eq!(core.parties[0].identity, trunk);
    let staging = IdentitySettings {
        organisations: Some(vec!["Staging Tests".into()]),
        refuses_emergency: true,
        ..IdentitySettings::default()
    };
    assert_eq!(core.parties[2].identity, staging);
    let defaults = good("");
    assert_eq!(defaults.core.parties[0].identity.profile, Some(Profile::default()), "a trunk rewrites unless told");
    assert_eq!(defaults.core.caller_id.emergency.len(), 5);
}

#[test]
fn trunks_stand_first_and_environments_in_their_order() {
    let core = full().core;
    let roles: Vec<Role> = core.parties.iter().map(|party| party.role).collect();
    let environment = Role::Environment;
    // The last one plays the announcements of prod.
    let expected = [Environment::Prod, Environment::Staging, Environment::Oss, Environment::Prod].map(environment);
    assert_eq!(roles, [&[Role::Trunk], expected.as_slice()].concat());
    assert_eq!(core.parties[0].called_number, Some(Form::PlusE164));
    assert_eq!(core.parties[1].called_number, None);
    assert_eq!(core.parties[2].called_number, Some(Form::National));
    assert_eq!(core.parties[3].called_number, Some(Form::E164));
}

#[test]
fn a_peer_leaves_from_a_listener_of_its_transport() {
    let core = full().core;
    let staging = &core.parties[2].peers;
    assert_eq!((staging[0].transport, staging[0].listener), (Transport::Udp, ListenerId(2)), "the named one");
    assert_eq!((staging[1].transport, staging[1].listener), (Transport::Tcp, ListenerId(1)), "of the same address");
    let oss = &core.parties[3].peers;
    assert_eq!(oss[1].listener, ListenerId(1), "the first of its transport");
    let by_size = oss[0].by_size.unwrap();
    assert_eq!((oss[0].listener, by_size.datagram, by_size.stream), (ListenerId(0), ListenerId(0), ListenerId(1)));
}

#[test]
fn sources_are_the_peers_addresses_unless_given() {
    let core = full().core;
    assert_eq!(core.interfaces, ["wg0".into()]);
    let staging = &core.parties[2].sources;
    assert_eq!(staging.len(), 1, "two targets at one address are one source");
    assert_eq!((staging[0].port, staging[0].interface), (None, Some(InterfaceId(1))));
    let loopback = good(include_str!("../../../../fixtures/configs/valid/loopback.toml")).core;
    assert_eq!(loopback.parties[0].sources[0].port, Some(5062));
    let public = good(include_str!("../../../../fixtures/configs/valid/public-target.toml")).core;
    assert!(public.parties[2].sources.is_empty(), "it places no calls");
}

/// An empty file and the settings' defaults are the same thing, and both are good.
#[test]
fn a_file_with_nothing_but_defaults_starts() {
    let core = good("").core;
    assert_eq!(core.timers, proxy::settings::TimerSettings::default());
    assert_eq!(core.limits, proxy::settings::LimitSettings::default());
    assert_eq!(core.parties.len(), 4);
}

#[test]
fn unknown_numbers_may_go_to_an_environment() {
    let core = good("dispatch.unknown_did = \"oss\"").core;
    assert_eq!(core.dispatch.unknown_did, UnknownDid::Environment(Environment::Oss));
}

#[test]
fn no_adoption_with_zero() {
    assert_eq!(good("sip.adopt_for = \"0s\"").core.adopt_until, None);
}

#[test]
fn the_variable_overrides_the_environment() {
    let read = |value: &str, text: &str| {
        let value = value.to_owned();
        read("test.toml", text, &move |name| (name == ENVIRONMENT_VARIABLE).then(|| value.clone()))
    };
    assert_eq!(read("staging", "environment = \"prod\"").unwrap().core.environment, Environment::Staging);
    assert_eq!(read("", "environment = \"oss\"").unwrap().core.environment, Environment::Oss);
    let faults = read("Staging", "").unwrap_err().to_string();
    assert_eq!(faults, "environment variable ASTRADIAL_ENV: found \"Staging\", expected prod, staging or oss");
    assert!(read("staging", "environment = \"x\"").is_err(), "the file is to be good by itself");
}

#[test]
fn variables_stand_in_any_string() {
    let variables = |name: &str| match name {
        "DIR" => Some("/srv/switchyard".to_owned()),
        "IP" => Some("10.10.10.9".to_owned()),
        _ => None,
    };
    let text = "state_dir = \"${DIR}/a$$b\"\n[[trunk]]\nname = \"t\"\ngateways = [\"udp:${IP}:5060\"]";
    let configuration = read("test.toml", text, &variables).unwrap();
    assert_eq!(configuration.state_dir, Path::new("/srv/switchyard/a$b"));
    assert_eq!(configuration.core.parties[0].peers[0].address.to_string(), "10.10.10.9:5060");
}

#[test]
fn no_debug_output_shows_the_password_of_the_database() {
    let configuration = good("database.url = \"mysql://u:hunter2@db/x\"");
    assert!(!format!("{configuration:?}").contains("hunter2"));
    let long = format!("database.url = \"oracle://u:{}@db/x\"", "hunter2".repeat(20));
    assert!(!faults(&long).concat().contains("hunter2"), "not in a shortened excerpt either");
    assert!(!faults("database.url = \"hunter2\"").concat().contains("hunter2"));
    assert!(!faults("database.url = [\"hunter2\"]").concat().contains("hunter2"));
    assert!(!faults("database.url = { hunter2 = 1 }").concat().contains("hunter2"));
}

/// One fault for each key: what follows from it is not told again.
#[test]
fn a_fault_is_told_once() {
    assert_eq!(faults("[[trunk]]\nname = 5\ngateways = [\"udp:10.10.10.2:5060\"]").len(), 1);
    assert_eq!(faults("sip.listen = [\"udp:0.0.0.0:5060\"]").len(), 1, "no word of peers without a listener");
    assert_eq!(faults("sip.listen = 5").len(), 1);
}

#[test]
fn a_fault_names_the_line_of_its_key_in_every_way_of_writing() {
    assert_eq!(
        faults("\n\ntimers.t1 = \"x\"")[0],
        "test.toml:3: timers.t1: found \"x\", expected a whole number and a unit: ms, s, m, h or d"
    );
    assert!(faults("\ntimers = {\n t2 = \"x\",\n}")[0].starts_with("test.toml:3: timers.t2: "));
    assert!(
        faults("[environments.prod]\ntargets = [\n  \"udp:10.10.10.1:5070\",\n  \"x\",\n]")[0]
            .starts_with("test.toml:4: environments.prod.targets[1]: ")
    );
}

#[test]
fn a_value_is_quoted_in_one_short_line() {
    let long = faults(&format!("environment = \"{}\"", "x".repeat(500)));
    assert!(long[0].len() < 200, "{}", long[0]);
    assert_eq!(faults("environment = '''a\nb'''").len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let faults = load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(faults.contains("none.toml: found no readable file"), "{faults}");
    let path = folder.path().join("latin.toml");
    std::fs::write(&path, b"environment = \"pr\xf6d\"").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("no UTF-8 at offset 17"));
}

/// Limit FILE_BYTES.
#[test]
fn a_file_has_at_most_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.toml");
    let bytes = usize::try_from(limits::FILE_BYTES).unwrap();
    std::fs::write(&path, "#".repeat(bytes)).unwrap();
    assert!(load(&path).is_ok());
    std::fs::write(&path, "#".repeat(bytes + 1)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("more than 1048576 bytes"));
}

/// Limit FAULTS.
#[test]
fn so_many_faults_are_told() {
    let unknown: String = (0..limits::FAULTS + 50).map(|at| format!("key{at} = 1\n")).collect();
    assert_eq!(faults(&unknown).len(), limits::FAULTS);
    let wrong = vec!["\"x\""; limits::FAULTS + 50].join(", ");
    assert_eq!(faults(&format!("sip.names = [{}]", wrong.replace('x', "-"))).len(), limits::FAULTS);
}

/// Limit LISTENERS.
#[test]
fn so_many_listeners() {
    let listen = |count: usize| {
        let list: Vec<String> = (0..count).map(|at| format!("\"udp:10.10.10.1:{}\"", 6_000 + at)).collect();
        format!("sip.listen = [{}]", list.join(", "))
    };
    assert_eq!(good(&listen(limits::LISTENERS)).core.listeners.len(), limits::LISTENERS);
    assert_eq!(
        faults(&listen(limits::LISTENERS + 1)),
        ["test.toml:1: sip.listen: found a list, expected 1 to 16 addresses: udp:IP:PORT or tcp:IP:PORT"]
    );
    assert_eq!(faults(&listen(0)).len(), 1);
}

#[test]
fn so_many_workers() {
    let workers = |count: u16| format!("sip.workers = {count}");
    assert_eq!(good("").workers, 1);
    for count in [1, *limits::WORKERS.end()] {
        assert_eq!(good(&workers(count)).workers, count);
    }
    for count in [0, limits::WORKERS.end() + 1] {
        let expected = format!("test.toml:1: sip.workers: found {count}, expected a number from 1 to 64");
        assert_eq!(faults(&workers(count)), [expected]);
    }
}

/// Limit TRUNKS.
#[test]
fn so_many_trunks() {
    let trunks = |count: usize| -> String {
        (0..count).map(|at| format!("[[trunk]]\nname = \"t{at}\"\ngateways = [\"udp:10.10.20.{at}:5060\"]\n")).collect()
    };
    assert_eq!(good(&trunks(limits::TRUNKS)).core.parties.len(), limits::TRUNKS + 3);
    assert_eq!(faults(&trunks(limits::TRUNKS + 1)).len(), 1);
}

/// Limit SOURCES, and the core's ATTEMPTS.
#[test]
fn so_many_peers_and_sources_of_one_party() {
    let party = |targets: usize, sources: usize| {
        let targets: Vec<String> = (0..targets).map(|at| format!("\"udp:10.10.20.{at}:5060\"")).collect();
        let sources: Vec<String> = (0..sources).map(|at| format!("\"10.10.30.{at}\"")).collect();
        format!("[environments.prod]\ntargets = [{}]\nsources = [{}]", targets.join(", "), sources.join(", "))
    };
    assert!(!good(&party(proxy::limits::ATTEMPTS, limits::SOURCES)).core.parties.is_empty());
    let faults = faults(&party(proxy::limits::ATTEMPTS + 1, limits::SOURCES + 1));
    assert_eq!(faults.len(), 2);
    assert!(faults[0].contains("environments.prod.targets: ") && faults[1].contains("at most 64"), "{faults:?}");
}

/// Limit MEDIA_NETWORKS.
#[test]
fn media_networks_are_written_as_networks() {
    let party = |networks: &[String]| {
        let networks: Vec<String> = networks.iter().map(|network| format!("\"{network}\"")).collect();
        format!("[environments.prod]\ntargets = [\"udp:10.10.10.1:5070\"]\nmedia = [{}]", networks.join(", "))
    };
    let many = |count: usize| (0..count).map(|at| format!("10.20.{at}.0/24")).collect::<Vec<String>>();
    let read = good(&party(&many(limits::MEDIA_NETWORKS)));
    let prod = read.core.parties.iter().find(|party| &*party.name == "prod").unwrap();
    assert!(prod.media.len() == limits::MEDIA_NETWORKS && prod.media[3].has("10.20.3.9".parse().unwrap()));
    assert_eq!(faults(&party(&many(limits::MEDIA_NETWORKS + 1))).len(), 1);
    for wrong in ["10.20.0.0", "10.20.0.1/24", "10.20.0.0/33", "fd00::/129", "lan/24", "10.20.0.0/"] {
        let faults = faults(&party(&[wrong.to_owned()]));
        assert!(
            faults.len() == 1 && faults[0].contains("environments.prod.media") && faults[0].contains(wrong),
            "{faults:?}"
        );
    }
    let odd = good(&party(&["0.0.0.0/0".into(), "fd00:10::/32".into(), "10.1.2.3/32".into()]));
    assert!(odd.core.parties.iter().any(|party| party.media.len() == 3));
}

#[test]
fn the_log_and_captures_are_configured_or_refused() {
    let wrong = "[log]\nformat = \"xml\"\nlevel = \"loud\"\n[capture]\nhep = \"homer:9060\"\nkey = \"sesame\"";
    let faults_of_all = faults(wrong);
    assert_eq!(faults_of_all.len(), 3, "{faults_of_all:?}");
    assert!(!faults_of_all.concat().contains("sesame"));
    assert_eq!(faults("[capture]\nenabled = true").len(), 1);
    let configuration = full();
    let collector = configuration.capture.collector.clone().unwrap();
    assert_eq!((collector.address.to_string().as_str(), collector.node), ("10.10.10.9:9060", 2_001));
    assert!(configuration.capture.is_on && configuration.log.redacts);
    assert!(!format!("{configuration:?}").contains("\"example\""));
    assert_eq!(good("").log, crate::logging::Log::default());
}

/// Limits NAME_BYTES and INTERFACE_BYTES.
#[test]
fn names_are_short() {
    let trunk = |name: usize, interface: usize| {
        let (name, interface) = ("n".repeat(name), "i".repeat(interface));
        format!("[[trunk]]\nname = \"{name}\"\ngateways = [\"udp:10.10.10.2:5060\"]\ninterface = \"{interface}\"")
    };
    assert!(good(&trunk(limits::NAME_BYTES, limits::INTERFACE_BYTES)).core.parties.len() == 4);
    assert_eq!(faults(&trunk(limits::NAME_BYTES + 1, limits::INTERFACE_BYTES + 1)).len(), 2);
}

/// Limits TRANSACTIONS_MIN and TRANSACTIONS_MAX.
#[test]
fn the_transaction_limit_has_bounds() {
    let text = |count: usize| format!("limits.transactions = {count}");
    for count in [limits::TRANSACTIONS_MIN, limits::TRANSACTIONS_MAX] {
        assert_eq!(good(&text(count)).core.limits.transactions, count);
    }
    for count in [limits::TRANSACTIONS_MIN - 1, limits::TRANSACTIONS_MAX + 1] {
        assert_eq!(faults(&text(count)).len(), 1);
    }
}

/// Limits ADMIN_HOSTS and ADMIN_ROLES, and what a port alone means.
#[test]
fn the_admin_table_has_bounds() {
    let hosts = |count: usize| (0..count).map(|at| format!("\"h{at}.example.org\"")).collect::<Vec<_>>().join(",");
    let text = |count| format!("[admin]\nlisten = \"9161\"\nhosts = [{}]", hosts(count));
    let admin = good(&text(limits::ADMIN_HOSTS)).admin.unwrap();
    assert_eq!(admin.listen.to_string(), "127.0.0.1:9161");
    assert_eq!(faults(&text(limits::ADMIN_HOSTS + 1)).len(), 1);
    let roles = |count: usize| (0..count).map(|at| format!("\"p{at}@example.org\" = \"viewer\"\n")).collect::<String>();
    let text = |count| {
        let access = "team = \"example.cloudflareaccess.com\"\naudiences = [\"a\"]";
        format!("[admin]\nlisten = \"9161\"\n[admin.access]\n{access}\n[admin.access.roles]\n{}", roles(count))
    };
    let admin = good(&text(limits::ADMIN_ROLES)).admin.unwrap();
    assert_eq!(admin.team.unwrap().roles.len(), limits::ADMIN_ROLES);
    assert_eq!(faults(&text(limits::ADMIN_ROLES + 1)).len(), 1);
    assert!(good("").admin.is_none());
}

/// Limits TRANSACTION_BYTES_MIN, TRANSACTION_BYTES_MAX and REQUESTS_PER_SECOND_MAX; none a second without the key.
#[test]
fn the_limits_of_load_have_bounds() {
    let bytes = |count: usize| format!("limits.transaction_bytes = {count}");
    for count in [limits::TRANSACTION_BYTES_MIN, limits::TRANSACTION_BYTES_MAX] {
        assert_eq!(good(&bytes(count)).core.limits.transaction_bytes, count);
    }
    for count in [limits::TRANSACTION_BYTES_MIN - 1, limits::TRANSACTION_BYTES_MAX + 1] {
        assert_eq!(faults(&bytes(count)).len(), 1);
    }
    let rate = |count: u32| format!("limits.requests_per_second = {count}");
    assert_eq!(good("").core.limits.requests_per_second, 0);
    for count in [0, limits::REQUESTS_PER_SECOND_MAX] {
        assert_eq!(good(&rate(count)).core.limits.requests_per_second, count);
    }
    assert_eq!(faults(&rate(limits::REQUESTS_PER_SECOND_MAX + 1)).len(), 1);
}

#[test]
fn strangers_are_dropped_in_the_kernel_or_told() {
    use proxy::settings::Strangers;
    assert_eq!(good("").core.limits.strangers, Strangers::Kernel);
    assert_eq!(good("sip.strangers = \"log\"").core.limits.strangers, Strangers::Log);
    assert_eq!(faults("sip.strangers = \"ban\"").len(), 1);
}

#[test]
fn records_have_bounds() {
    let at = |key: &str, value: u64| format!("records.{key} = {value}");
    let as_number = |count: usize| u64::try_from(count).unwrap();
    let bounds = [
        ("file_bytes_max", *limits::RECORD_FILE_BYTES.start(), *limits::RECORD_FILE_BYTES.end()),
        ("files_kept", as_number(*limits::RECORD_FILES.start()), as_number(*limits::RECORD_FILES.end())),
        ("webhook_spool_bytes_max", *limits::WEBHOOK_SPOOL_BYTES.start(), *limits::WEBHOOK_SPOOL_BYTES.end()),
        ("journal_calls", as_number(*limits::JOURNAL_CALLS.start()), as_number(*limits::JOURNAL_CALLS.end())),
        ("journal_bytes", as_number(*limits::JOURNAL_BYTES.start()), as_number(*limits::JOURNAL_BYTES.end())),
    ];
    for (key, least, most) in bounds {
        good(&at(key, least));
        good(&at(key, most));
        for value in [least - 1, most + 1] {
            assert_eq!(faults(&at(key, value)).len(), 1, "{key} = {value}");
        }
    }
    assert_eq!(good("records.journal_calls = 0").records.journal.calls, 0);
    assert_eq!(faults("records.folder = \"calls\"").len(), 1);
    assert_eq!(good("records.files = false").records.files, None);
}

#[test]
fn a_webhook_is_taken_from_the_variable_or_the_key_and_never_shown() {
    let url = |text: &str, variable: &'static str| {
        let variables = move |name: &str| (name == WEBHOOK_VARIABLE).then(|| variable.to_owned());
        let read = read("test.toml", text, &variables).map_err(|faults| faults.to_string());
        read.map(|configuration| configuration.records.webhook.map(|webhook| webhook.url.to_string()))
    };
    let key = "[records]\nwebhook_url = \"https://hooks.example.net/s3cret\"";
    assert_eq!(url("", ""), Ok(None));
    assert_eq!(url(key, ""), Ok(Some("https://hooks.example.net:443/(masked)".to_owned())));
    assert_eq!(url(key, "http://10.10.10.9:8080/s3cret"), Ok(Some("http://10.10.10.9:8080/(masked)".to_owned())));
    let faults = [
        (url("records.webhook_url = \"ftp://x/s3cret\"", ""), "test.toml:1: records.webhook_url"),
        (url(key, "s3cret"), "environment variable CALL_LOG_WEBHOOK_URL"),
        (url("records.webhook_url = 7", ""), "test.toml:1"),
    ];
    for (fault, place) in faults {
        let fault = fault.unwrap_err();
        assert!(fault.starts_with(place) && !fault.contains("s3cret"), "{fault}");
    }
    let records = full().records;
    let webhook = records.webhook.unwrap();
    assert_eq!((records.database, webhook.spool_bytes_max), (true, 33_554_432));
    assert_eq!(webhook.spool, Path::new("/var/lib/switchyard/webhook"));
}

/// Limits DATAGRAM_BYTES_MIN and DATAGRAM_BYTES_MAX; 1,300 bytes without the key (row TP1).
#[test]
fn datagrams_have_bounds() {
    let text = |bytes: String| {
        format!(
            "[sip]\nlisten = [\"udp:10.10.10.1:5060\", \"tcp:10.10.10.1:5060\"]\n\
             [environments.prod]\ntargets = [\"auto:10.10.10.1:5070\"]\n{bytes}"
        )
    };
    let bytes_max = |text: &str| {
        let parties = good(text).core.parties;
        let peers: Vec<proxy::Peer> = parties.iter().flat_map(|party| party.peers.clone()).collect();
        peers.iter().find_map(|peer| peer.by_size).unwrap().datagram_bytes_max
    };
    assert_eq!(bytes_max(&text(String::new())), 1_300);
    for bytes in [limits::DATAGRAM_BYTES_MIN, limits::DATAGRAM_BYTES_MAX] {
        assert_eq!(bytes_max(&text(format!("datagram_bytes_max = {bytes}"))), bytes);
    }
    for bytes in [limits::DATAGRAM_BYTES_MIN - 1, limits::DATAGRAM_BYTES_MAX + 1] {
        assert_eq!(faults(&text(format!("datagram_bytes_max = {bytes}"))).len(), 1);
    }
}

/// Nothing in a file can make reading it panic or hang.
#[test]
fn any_text_is_a_configuration_or_faults() {
    let whole = include_str!("../../../../fixtures/configs/valid/full.toml");
    for (at, _) in whole.char_indices() {
        let _cut = read("test.toml", &whole[..at], &nothing_set);
    }
    let words =
        ["[", "]", "[[trunk]]", "=", "\"", "sip", "listen", ".", "5", "{", "}", ",", "${X}", "\n", "\u{0}", "é"];
    let mut seed = 1_u64;
    for _ in 0..2_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(words[usize::try_from(seed >> 60).unwrap()]);
        }
        let _any = read("test.toml", &text, &nothing_set);
    }
}

#[test]
fn caller_id_keys_have_limits() {
    let caller_id = |header: usize, emergency: usize| {
        let numbers = vec!["\"112\""; emergency].join(",");
        format!("[caller_id]\nendpoint_header = \"{}\"\nemergency = [{numbers}]\n", "X".repeat(header))
    };
    let trunk = |domain: usize, names: usize| {
        let (domain, names) = (format!("a.{}", "b.".repeat(domain / 2 - 2) + "cc"), vec!["\"x\""; names].join(","));
        format!(
            "[[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\"]\nproviders = [{names}]\n\
             [trunk.identity]\nhost = \"domain\"\ndomain = \"{domain}\"\n"
        )
    };
    let reads = |text: &str| read("test", text, &|_| None).is_ok();
    assert!(reads(&caller_id(limits::HEADER_BYTES, limits::EMERGENCY)));
    assert!(!reads(&caller_id(limits::HEADER_BYTES + 1, 1)));
    assert!(!reads(&caller_id(9, limits::EMERGENCY + 1)));
    assert!(reads(&trunk(limits::DOMAIN_BYTES, limits::NAMES)));
    assert!(!reads(&trunk(limits::DOMAIN_BYTES + 2, 1)));
    assert!(!reads(&trunk(9, limits::NAMES + 1)));
}

#[test]
fn a_quota_is_held_to_its_bounds() {
    let with = |quota: &str| {
        format!("[[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\"]\n[trunk.quota]\n{quota}\n")
    };
    let of_staging = |quota: &str| {
        format!(
            "[environments.prod]\ntargets = [\"udp:10.10.10.1:5070\"]\n[environments.staging]\ntargets = \
             [\"udp:10.10.10.3:5080\"]\n[environments.staging.quota]\n{quota}\n"
        )
    };
    let prefixes = |count: usize| format!("destinations = [{}]", vec!["\"+44\""; count].join(","));
    for good in [
        with("max_channels = 30\nprod_reserve = 30"),
        with("gateway_channels = [0]"),
        of_staging(&prefixes(limits::DESTINATIONS)),
    ] {
        assert!(read("test", &good, &nothing_set).is_ok(), "{good}");
    }
    for (bad, key) in [
        (with("max_channels = 0"), "trunk[0].quota.max_channels"),
        (with("max_channels = 30\nprod_reserve = 31"), "trunk[0].quota.prod_reserve"),
        (with("prod_reserve = 1"), "trunk[0].quota.prod_reserve"),
        (with("gateway_channels = [1, 2]"), "trunk[0].quota.gateway_channels"),
        (with("calls_per_second = 100001"), "trunk[0].quota.calls_per_second"),
        (of_staging(&prefixes(limits::DESTINATIONS + 1)), "environments.staging.quota.destinations"),
        (of_staging("destinations = []"), "environments.staging.quota.destinations"),
        (of_staging("destinations = [\"0044\"]"), "environments.staging.quota.destinations[0]"),
        (of_staging("daily_calls = 0"), "environments.staging.quota.daily_calls"),
        ("limits.busy_status = \"503\"".to_owned(), "limits.busy_status"),
        ("limits.call_age = \"1s\"".to_owned(), "limits.call_age"),
    ] {
        let told = faults(&bad);
        assert!(told.iter().any(|line| line.contains(key)), "{key} in {told:?}");
    }
}

#[test]
fn the_full_file_limits_calls() {
    let core = full().core;
    let party = |name: &str| core.parties.iter().find(|party| &*party.name == name).unwrap().quota.clone();
    let trunk = party("tata");
    assert_eq!((trunk.max_channels, trunk.prod_reserve, trunk.calls_per_second), (Some(30), 10, Some(10)));
    assert_eq!(trunk.gateway_channels, [30]);
    let staging = party("staging");
    assert_eq!((staging.max_channels, staging.calls_per_second, staging.daily_calls), (Some(4), Some(2), Some(500)));
    assert_eq!(staging.destinations.unwrap().first().unwrap().to_string(), "+4477009");
    let limits = core.limits;
    assert_eq!((limits.busy_status, limits.rate_status, limits.call_age_secs), (480, 486, 21_600));
    assert_eq!((limits.did_calls_per_second, limits.organisation_calls_per_second), (Some(5), Some(20)));
}

#[test]
fn every_engine_has_its_urls() {
    for url in [
        "mysql://u:p@127.0.0.1/pbx_api_db",
        "mariadb://u:p@db.example.org:3307/pbx_api_db",
        "postgres://u:p@[fd00::1]/pbx",
        "postgresql://u@127.0.0.1/pbx?sslmode=disable",
        "sqlite:///var/lib/directory.db",
        "sqlite:/var/lib/directory.db",
    ] {
        let configuration = good(&format!("database.url = \"{url}\""));
        assert_eq!(configuration.database.url, url);
        assert_eq!(configuration.database.snapshot_dir, Some("/var/lib/switchyard".into()));
    }
    for url in
        ["mysql://u:hunter2@db", "postgres://u:hunter2@db/", "mysql:db", "sqlite:d.db", "sqlite://d.db", "x:", ""]
    {
        let told = faults(&format!("database.url = \"{url}\"")).concat();
        assert!(told.contains("expected mysql://USER:PASSWORD@HOST/DATABASE") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn the_guard_can_be_switched_off() {
    assert_eq!(good("database.guard.enabled = false").database.guard, None);
    assert_eq!(good("").database.guard, Some(directory::GuardPolicy::default()));
}
