//! A real MariaDB and a real PostgreSQL on loopback, each in a folder of its own, one run of each for all tests.
//!
//! Each test has a database of its own on the shared server. A test that stops or kills the server takes
//! [`Server::alone`], so that it hurts nobody. A guard outside this process ends the servers and removes the folders
//! when the tests end, however they end.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);
/// The password of PostgreSQL's highest account; MariaDB's has none.
const ROOT_PASSWORD: &str = "r00t";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    MariaDb,
    Postgres,
}

/// One server, running.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) port: u16,
    folder: PathBuf,
    /// The unprivileged account it runs as, when we are root.
    account: Option<&'static str>,
    process: Mutex<Option<Child>>,
    turns: RwLock<()>,
    /// Held by who makes or changes an account.
    pub(crate) accounts: tokio::sync::Mutex<()>,
    databases: AtomicU32,
    /// When this is closed, the guard ends the server.
    _guard: ChildStdin,
}

/// The shared server of an engine; the first who asks starts it.
pub(crate) fn server(engine: Engine) -> &'static Server {
    static MARIADB: OnceLock<Server> = OnceLock::new();
    static POSTGRES: OnceLock<Server> = OnceLock::new();
    let cell = match engine {
        Engine::MariaDb => &MARIADB,
        Engine::Postgres => &POSTGRES,
    };
    cell.get_or_init(|| Server::install(engine))
}

impl Server {
    /// Makes a folder with a fresh, empty data directory, and starts a server on it.
    fn install(engine: Engine) -> Server {
        let folder = tempfile::Builder::new().prefix("switchyard-").tempdir().unwrap().keep();
        let account = is_root().then_some(match engine {
            Engine::MariaDb => "mysql",
            Engine::Postgres => "postgres",
        });
        if let Some(account) = account {
            let (user, group) = (id_of("-u", account), id_of("-g", account));
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let server = Server {
            engine,
            port: free_port(),
            account,
            process: Mutex::new(None),
            turns: RwLock::new(()),
            accounts: tokio::sync::Mutex::new(()),
            databases: AtomicU32::new(0),
            _guard: guard(&folder),
            folder,
        };
        let data = server.data();
        let data = data.to_str().unwrap();
        let pwfile = server.folder.join("password");
        fs::write(&pwfile, ROOT_PASSWORD).unwrap();
        let pwfile = format!("--pwfile={}", pwfile.display());
        match engine {
            Engine::MariaDb => server.run(
                "mariadb-install-db",
                &["--no-defaults", &format!("--datadir={data}"), "--auth-root-authentication-method=normal"],
            ),
            Engine::Postgres => server.run(
                &postgres_program("initdb"),
                &["--no-sync", "-D", data, "-U", "root", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", &pwfile],
            ),
        }
        server.start();
        server
    }

    /// A turn beside the other tests.
    pub(crate) async fn turn(&self) -> RwLockReadGuard<'_, ()> {
        self.turns.read().await
    }

    /// A turn without any other test on this server: it may be stopped and killed.
    pub(crate) async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.turns.write().await
    }

    /// The name of a database that no other test has. It is not made yet.
    pub(crate) fn database_name(&self) -> String {
        format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// The URL of a database for an account, by way of a port.
    pub(crate) fn url(&self, account: &str, port: u16, database: &str) -> String {
        let account = match (self.engine, account) {
            (Engine::Postgres, "root") => &format!("root:{ROOT_PASSWORD}"),
            _ => account,
        };
        match self.engine {
            Engine::MariaDb => format!("mysql://{account}@127.0.0.1:{port}/{database}"),
            Engine::Postgres => format!("postgres://{account}@127.0.0.1:{port}/{database}?sslmode=disable"),
        }
    }

    /// The URL of the engine's own database, for its highest account.
    pub(crate) fn root_url(&self) -> String {
        let database = match self.engine {
            Engine::MariaDb => "mysql",
            Engine::Postgres => "postgres",
        };
        self.url("root", self.port, database)
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start(&self) {
        let data = self.data();
        let data = data.to_str().unwrap();
        let port = self.port.to_string();
        let mut command = match self.engine {
            Engine::MariaDb => self.command(
                "mariadbd",
                &[
                    "--no-defaults",
                    &format!("--datadir={data}"),
                    &format!("--port={port}"),
                    "--bind-address=127.0.0.1",
                    &format!("--socket={}", self.folder.join("socket").display()),
                    &format!("--pid-file={}", self.pid_file().display()),
                    "--innodb-buffer-pool-size=64M",
                    "--innodb-flush-log-at-trx-commit=2",
                    "--skip-name-resolve",
                ],
            ),
            Engine::Postgres => {
                self.command(&postgres_program("postgres"), &["-D", data, "-p", &port, "-h", "127.0.0.1", "-k", ""])
            }
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        *self.process.lock().unwrap() =
            Some(child.expect("the server's program is missing: cargo xtask test installs it"));
        let begun = Instant::now();
        while !self.answers() {
            let ended = self.process.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the server does not start:\n{}", self.log());
            std::thread::yield_now();
        }
    }

    /// Kills the server: no farewell to anyone.
    pub(crate) fn kill(&self) {
        let mut child = self.process.lock().unwrap().take().unwrap();
        match self.engine {
            Engine::MariaDb => child.kill().unwrap(),
            // Its children must go too, or the data directory stays in use.
            Engine::Postgres => signal("QUIT", child.id()),
        }
        child.wait().unwrap();
        let _ = fs::remove_file(self.pid_file());
    }

    /// Freezes the server's processes: connections stay, nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        self.processes().into_iter().for_each(|process| signal(name, process));
    }

    /// The server's processes, the parent first: PostgreSQL has one for each connection.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let parent = self.process.lock().unwrap().as_ref().unwrap().id();
        let mut processes = vec![parent];
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            if fields.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
                processes.push(process.file_name().to_str().unwrap().parse().unwrap());
            }
        }
        processes
    }

    /// Whether a connection is greeted. PostgreSQL says nothing until it is spoken to: asked for TLS, it answers.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        if self.engine == Engine::Postgres {
            let status = Command::new(postgres_program("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            return status.is_ok_and(|status| status.success());
        }
        let mut greeting = [0];
        matches!(stream.read(&mut greeting), Ok(1))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn pid_file(&self) -> PathBuf {
        match self.engine {
            Engine::MariaDb => self.folder.join("server.pid"),
            Engine::Postgres => self.data().join("postmaster.pid"),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A program under the unprivileged account.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = match self.account {
            Some(account) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={account}"), &format!("--regid={account}"), "--clear-groups", program]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program, arguments).stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; cargo xtask test installs it"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Ends the server and removes its folder when its input is closed, which the system does when this process ends.
fn guard(folder: &Path) -> ChildStdin {
    let script = "cat; for file in \"$0\"/server.pid \"$0\"/data/postmaster.pid; do \
                  [ -s \"$file\" ] && pid=$(head -n 1 \"$file\") && kill -CONT $pid && kill -QUIT $pid && \
                  for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $pid || break; sleep 0.2; done; kill -KILL $pid; done 2>/dev/null; \
                  rm -rf \"$0\"";
    let mut guard = Command::new("sh");
    guard.args(["-c", script]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: an interrupt from the terminal must not end it before it has cleaned up.
    std::os::unix::process::CommandExt::process_group(&mut guard, 0);
    guard.spawn().unwrap().stdin.take().unwrap()
}

/// Debian keeps PostgreSQL's programs in a folder for each version.
fn postgres_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn id_of(which: &str, account: &str) -> u32 {
    let output = Command::new("id").args([which, account]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("the server's account is missing")
}

fn signal(name: &str, process: u32) {
    Command::new("kill").args([format!("-{name}"), process.to_string()]).stderr(Stdio::null()).status().unwrap();
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
