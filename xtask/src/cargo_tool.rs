//! Cargo's extensions that a checkout needs, each in one version: found on the path, else built once for all
//! checkouts into a folder of their own beside cargo's.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tool;

/// An extension of cargo, published under the name of its program.
pub(crate) struct CargoTool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl CargoTool {
    /// Builds it, unless this version is there already. It takes some minutes.
    pub(crate) fn install(&self) -> Result<()> {
        if self.find().is_some() {
            return Ok(());
        }
        let CargoTool { name, version } = self;
        println!("xtask: {name} {version} is missing, building it (some minutes)");
        let root = folder().context("neither CARGO_HOME nor HOME is set")?;
        let wanted = format!("{name}@{version}");
        if !tool::succeeds(tool::cargo(&["install", "--locked", "--quiet", &wanted, "--root"]).arg(root))? {
            bail!("{name} could not be installed");
        }
        Ok(())
    }

    /// The program, ready to run with these arguments.
    pub(crate) fn program(&self, arguments: &[&str]) -> Result<Command> {
        let program = self.find().with_context(|| format!("{} {} is not installed", self.name, self.version))?;
        Ok(tool::program(program, arguments))
    }

    fn find(&self) -> Option<PathBuf> {
        let built = folder().map(|folder| folder.join("bin").join(self.name));
        [Some(PathBuf::from(self.name)), built].into_iter().flatten().find(|place| {
            let version = tool::answer(&mut tool::program(place, &["--version"]));
            version.is_some_and(|text| text.split_whitespace().nth(1) == Some(self.version))
        })
    }
}

/// Outside the build folder, so that a fresh checkout does not build them again; outside cargo's own folder of
/// programs, so that another version there stays.
fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let home = variable("CARGO_HOME").or_else(|| Some(variable("HOME")?.join(".cargo")))?;
    Some(home.join("switchyard-tools"))
}
