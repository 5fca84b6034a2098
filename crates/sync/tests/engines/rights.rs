//! What a server says of an account's rights: those of deploy/sql and of `db migrate`, too few, and too many.

use sync::{Migration, Rights, Settings, User, rights, schema};

use crate::bench::Bench;
use crate::reading::on_each_engine;
use crate::server::Engine;

on_each_engine! {
    rights_of_deploy_sql_are_enough_and_no_more,
    too_few_rights_are_named_with_what_fails,
    too_many_rights_are_named,
    missing_optional_columns_are_named,
}

/// An account of one test: what it holds elsewhere on the shared server would be more than it needs.
struct Account {
    bench: Bench,
    name: String,
}

impl Account {
    /// Made by the script of deploy/sql.
    async fn reader(engine: Engine) -> Account {
        let bench = Bench::start(engine).await;
        let name = format!("reader_{}", bench.database);
        let role = match engine {
            Engine::MariaDb => schema::MARIADB_ROLE,
            Engine::Postgres => schema::POSTGRES_ROLE,
        };
        let role = role.replace("pbx_api_db", &bench.database).replace("'CHANGE-ME'", "'s3cret'");
        let role = match engine {
            Engine::MariaDb => role.replace("'switchyard'@", &format!("'{name}'@")),
            Engine::Postgres => {
                let role = role.replace("ROLE switchyard", &format!("ROLE {name}"));
                role.replace("TO switchyard", &format!("TO {name}"))
            }
        };
        assert!(role.contains(&name) && !role.contains("'switchyard'@"), "{role}");
        let account = Account { bench, name };
        account.write(&role).await;
        account
    }

    /// With our own tables, and what `db migrate` gives.
    async fn writer(engine: Engine) -> Account {
        let account = Account::reader(engine).await;
        let migration =
            Migration { mapping: sync::Mapping::default(), account: account.grantee(), has_change_log: true };
        let _turn = account.bench.server.accounts.lock().await;
        sync::migrate(&account.bench.root_url(), &migration, |_| {}).await.unwrap();
        drop(_turn);
        account
    }

    /// As a migration names it.
    fn grantee(&self) -> String {
        match self.bench.server.engine {
            Engine::MariaDb => format!("{}@127.0.0.1", self.name),
            Engine::Postgres => self.name.clone(),
        }
    }

    /// As a statement names it.
    fn quoted(&self) -> String {
        match self.bench.server.engine {
            Engine::MariaDb => format!("'{}'@'127.0.0.1'", self.name),
            Engine::Postgres => self.name.clone(),
        }
    }

    async fn write(&self, script: &str) {
        // An account is the server's, not the database's.
        let _turn = self.bench.server.accounts.lock().await;
        self.bench.write(&script.replace("ACCOUNT", &self.quoted()).replace("HERE", &self.bench.database)).await;
    }

    async fn seen(&self, call_records: bool) -> Rights {
        let account = format!("{}:s3cret", self.name);
        let url = self.bench.server.url(&account, self.bench.server.port, &self.bench.database);
        let nobody = User { uid: 65_534, groups: Vec::new() };
        rights(&Settings::new(url, directory::Policy::default()), call_records, &nobody).await.unwrap()
    }
}

async fn rights_of_deploy_sql_are_enough_and_no_more(engine: Engine) {
    let reader = Account::reader(engine).await;
    let account = reader.grantee();
    assert_eq!(reader.seen(false).await, Rights { account: account.clone(), ..Rights::default() });
    let told = reader.seen(true).await.unwritten;
    assert!(told.len() == 1 && told[0].starts_with("switchyard_calls, which is not there"), "{told:?}");
    let writer = Account::writer(engine).await;
    let expected = Rights { account: writer.grantee(), writes: true, ..Rights::default() };
    assert_eq!(writer.seen(true).await, expected);
}

async fn too_few_rights_are_named_with_what_fails(engine: Engine) {
    let account = Account::writer(engine).await;
    account
        .write(
            "REVOKE SELECT ON users FROM ACCOUNT; REVOKE INSERT ON switchyard_audit FROM ACCOUNT; \
             REVOKE UPDATE (routing_environment) ON did_numbers FROM ACCOUNT",
        )
        .await;
    let found = account.seen(true).await;
    let users = match engine {
        // It does not even say whether there is such a table.
        Engine::MariaDb => "SELECT on users, or there is no such table",
        Engine::Postgres => "SELECT on users",
    };
    assert_eq!(found.unread, [users]);
    assert_eq!(
        found.unwritten,
        [
            "UPDATE (routing_environment) on did_numbers: no DID can be moved for good",
            "INSERT on switchyard_audit: nothing can be changed, as every change is noted there"
        ]
    );
    account.write("GRANT SELECT (id, org_id) ON users TO ACCOUNT").await;
    let part = account.seen(true).await.unread;
    assert!(part[0].starts_with("SELECT (username, extension, "), "{part:?}");
    if engine == Engine::Postgres {
        account.write("ALTER TABLE sip_trunks ENABLE ROW LEVEL SECURITY").await;
        let hidden = "sip_trunks: row security is on, which may keep rows from this account";
        assert_eq!(account.seen(true).await.unread[1], hidden);
        account.write("REVOKE USAGE ON SCHEMA public FROM PUBLIC, ACCOUNT").await;
        let shut = account.seen(true).await.unread;
        assert_eq!((shut.len(), shut[0].as_str()), (4, "organizations: USAGE on schema public"), "{shut:?}");
    }
}

async fn too_many_rights_are_named(engine: Engine) {
    let account = Account::writer(engine).await;
    let harms: &[(&str, &[&str])] = match engine {
        Engine::MariaDb => &[
            ("GRANT UPDATE ON did_numbers TO ACCOUNT", &["UPDATE on did_numbers"]),
            ("GRANT SELECT ON HERE.* TO ACCOUNT", &["UPDATE on did_numbers", "SELECT on all of "]),
            (
                "GRANT SUPER ON *.* TO ACCOUNT",
                &["UPDATE on did_numbers", "SELECT on all of ", "SUPER on every database"],
            ),
        ],
        Engine::Postgres => &[
            ("GRANT UPDATE ON did_numbers TO ACCOUNT", &["UPDATE on did_numbers"]),
            ("GRANT DELETE ON users TO PUBLIC", &["UPDATE on did_numbers", "DELETE on users"]),
            ("GRANT pg_write_all_data TO ACCOUNT", &["member of pg_write_all_data", "DELETE on users"]),
            ("ALTER ROLE ACCOUNT CREATEROLE", &["CREATEROLE", "member of pg_write_all_data"]),
        ],
    };
    for (harm, told) in harms {
        account.write(harm).await;
        let found = account.seen(true).await;
        assert_eq!((found.unread.len(), found.unwritten.len()), (0, 0), "{found:?}");
        for told in *told {
            assert!(found.excess.iter().any(|excess| excess.contains(told)), "{told}: {found:#?}");
        }
    }
    // Who may do everything is told so once.
    let url = account.bench.root_url();
    let nobody = User { uid: 65_534, groups: Vec::new() };
    let root = rights(&Settings::new(url, directory::Policy::default()), true, &nobody).await.unwrap();
    match engine {
        Engine::MariaDb => assert!(root.excess[0].contains("GRANT OPTION on every database"), "{root:#?}"),
        Engine::Postgres => assert_eq!(root.excess, ["superuser, who may do everything"]),
    }
    assert_eq!((root.unread.len(), root.unwritten.len()), (0, 0), "{root:#?}");
    if engine == Engine::Postgres {
        account.write("ALTER TABLE users OWNER TO ACCOUNT").await;
        let owner = account.seen(true).await.excess;
        assert!(owner.contains(&"the owner's rights on users".to_owned()), "{owner:?}");
    }
}

async fn missing_optional_columns_are_named(engine: Engine) {
    let account = Account::reader(engine).await;
    account
        .write(
            "ALTER TABLE did_numbers DROP COLUMN is_default, DROP COLUMN call_limit, DROP COLUMN provider; \
                ALTER TABLE users DROP COLUMN outbound_did",
        )
        .await;
    let found = account.seen(false).await;
    let named: Vec<String> =
        found.missing_columns.iter().map(|missing| format!("{}.{}", missing.table, missing.column)).collect();
    assert_eq!(
        named,
        ["did_numbers.is_default", "did_numbers.call_limit", "did_numbers.provider", "users.outbound_did"]
    );
    assert_eq!(found.unread, Vec::<String>::new());
}
