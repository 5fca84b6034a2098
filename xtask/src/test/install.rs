//! What the tests need beyond Rust: Debian packages, components of the toolchain, extensions of cargo.

use anyhow::{Result, bail};

use crate::cargo_tool::CargoTool;
use crate::tool;

struct Package {
    name: &'static str,
    /// What the tests use it for.
    purpose: &'static str,
}

/// The Debian packages; only those that are missing are installed, without what they recommend.
const PACKAGES: [Package; 21] = [
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
    Package { name: "iproute2", purpose: "addresses and interfaces inside network namespaces" },
];

/// Holds licences, sources and doubled versions of the dependencies to deny.toml.
pub(crate) const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2" };

/// Looks for faults of accessibility in the admin page; a script, from the npm registry.
const AXE: &str = "axe-core@4.14.1";

/// Asks the API what its own document lets it be asked, and holds the document to its standard; from PyPI.
const SCHEMATHESIS: [&str; 2] = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"];

/// Installs the Debian packages that are missing.
pub(crate) fn packages() -> Result<()> {
    let missing: Vec<_> = PACKAGES.iter().filter(|package| !is_installed(package.name)).collect();
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

/// Puts axe-core where the tests of the page look for it. npm comes with Node.js, or from Debian.
pub(crate) fn axe() -> Result<()> {
    let folder = tool::root().join("target/tools/axe");
    if folder.join("node_modules/axe-core/axe.min.js").exists() {
        return Ok(());
    }
    if tool::answer(&mut tool::program("npm", &["--version"])).is_none() && !apt_install(&["npm"])? {
        bail!("npm could not be installed: apt-get install -y --no-install-recommends npm");
    }
    std::fs::create_dir_all(&folder)?;
    let mut install =
        tool::program("npm", &["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", AXE]);
    if !tool::succeeds(install.arg("--prefix").arg(&folder))? {
        bail!("{AXE} could not be installed with npm");
    }
    Ok(())
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
