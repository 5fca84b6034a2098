//! What a server says of its clock and of our triggers.

use sync::{Examination, Settings, Triggers, examine};

use crate::bench::Bench;
use crate::detection::{install, logging};
use crate::reading::on_each_engine;
use crate::server::Engine;

on_each_engine! {
    a_server_s_clock_and_triggers_are_seen,
    a_trigger_that_does_nothing_any_more_is_named,
}

fn settings(bench: &Bench) -> Settings {
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    Settings::new(own, directory::Policy::default())
}

async fn faults(bench: &Bench) -> Vec<String> {
    let found = examine(&settings(bench), Some(&bench.root_url())).await.unwrap();
    let Triggers::Seen { wanted, faults } = found.triggers else { panic!("{found:?}") };
    assert!(wanted > 20, "{wanted}");
    faults
}

async fn a_server_s_clock_and_triggers_are_seen(engine: Engine) {
    let bench = Bench::start(engine).await;
    let Examination { clock, triggers } = examine(&settings(&bench), None).await.unwrap();
    assert_eq!(triggers, Triggers::NoLog);
    // The server is on this machine: what is not the clock's is the time that the answer took.
    let clock = clock.unwrap();
    let ahead = std::time::Duration::from_millis(clock.ahead_ms.unsigned_abs());
    assert!(ahead <= clock.round_trip + std::time::Duration::from_millis(50), "{clock:?}");
    install(&bench, sync::Mapping::default()).await;
    let with_the_least_rights = examine(&settings(&bench), None).await.unwrap().triggers;
    match engine {
        Engine::MariaDb => assert_eq!(with_the_least_rights, Triggers::Hidden),
        Engine::Postgres => assert_eq!(with_the_least_rights, Triggers::Seen { wanted: 28, faults: Vec::new() }),
    }
    assert_eq!(faults(&bench).await, Vec::<String>::new());
}

async fn a_trigger_that_does_nothing_any_more_is_named(engine: Engine) {
    let bench = logging(engine).await;
    let harms: [(&str, &str); 3] = match engine {
        Engine::MariaDb => [
            ("DROP TRIGGER switchyard_users_delete", "DELETE of `users` is not noted: there is no trigger "),
            (
                "CREATE OR REPLACE TRIGGER switchyard_did_numbers_update AFTER UPDATE ON did_numbers \
                 FOR EACH ROW SET @mine = 1",
                "switchyard_did_numbers_update on `did_numbers` is not what `switchyard db plan` prints",
            ),
            ("DROP TRIGGER switchyard_switchyard_panic_insert", "INSERT of switchyard_panic is not noted"),
        ],
        Engine::Postgres => [
            ("DROP TRIGGER switchyard_delete ON users", "DELETE of \"users\" is not noted: there is no trigger "),
            ("ALTER TABLE did_numbers DISABLE TRIGGER switchyard_update", "switchyard_update is switched off"),
            (
                "CREATE OR REPLACE FUNCTION switchyard_note_change() RETURNS trigger LANGUAGE plpgsql \
                 AS 'BEGIN RETURN NULL; END'",
                "switchyard_note_change() is not what `switchyard db plan` prints",
            ),
        ],
    };
    for (at, (harm, told)) in harms.into_iter().enumerate() {
        bench.write(harm).await;
        let named = faults(&bench).await;
        assert_eq!(named.len(), at + 1, "{named:#?}");
        assert!(named.iter().any(|fault| fault.contains(told)), "{told}: {named:#?}");
    }
    // What `db migrate` makes again is whole again.
    install(&bench, sync::Mapping::default()).await;
    assert_eq!(faults(&bench).await, Vec::<String>::new());
}
