//! `cargo xtask package`: the Debian package and the tarballs, in target/package.
//!
//! What is made of the program itself (manual pages, completions) and the changelog in Debian's form are made first;
//! the table `package.metadata.deb` of the program's Cargo.toml says where everything goes.

mod notices;
mod tarball;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::test::install;
use crate::tool;

/// The target of the static program, which runs on any Linux of this processor.
const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// Who stands in the changelog where the variables of Debian's tools, DEBFULLNAME and DEBEMAIL, name nobody.
const MAINTAINER: &str = "The Switchyard authors <switchyard@example.org>";

#[derive(Args)]
pub(crate) struct Options {
    /// Package this program, of this machine's kind, in place of a build with optimisation.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The version of the Debian package, in place of the workspace's with `-1` after it.
    #[arg(long, value_name = "VERSION")]
    deb_version: Option<String>,
    /// Where the packages go.
    #[arg(long, value_name = "FOLDER", default_value = "target/package")]
    folder: PathBuf,
    /// Make the tarball of `--binary` alone, and no Debian package.
    #[arg(long, requires = "binary")]
    tarball: bool,
    /// Packed in less time and more bytes, without the package of debug information.
    #[arg(long)]
    quick: bool,
}

/// Makes them. True when all that was asked for is there.
pub(crate) fn run(options: &Options) -> Result<bool> {
    install::packaging()?;
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("cannot find {}", binary.display()))?,
        None => built(None)?,
    };
    let folder = tool::root().join(&options.folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let version = version_of(&binary)?;
    let deb_version = options.deb_version.clone().unwrap_or_else(|| format!("{}-1", version.number));
    let staged = tool::root().join("target/package");
    stage(&binary, &staged, &deb_version)?;
    if !options.tarball {
        install::CARGO_DEB.install()?;
        println!("{}", deb(&binary, &staged, &folder, &deb_version, options.quick)?.display());
    }
    println!("{}", tarball::made(&binary, &version.target, &version.number, &staged, &folder)?.display());
    // A program that was handed in is of one kind; the static one is another build.
    if options.binary.is_none() {
        return static_tarball(&version.number, &staged, &folder);
    }
    Ok(true)
}

/// False where the static program is not to be had.
fn static_tarball(version: &str, staged: &Path, folder: &Path) -> Result<bool> {
    let Some(binary) = built_static()? else { return Ok(false) };
    println!("{}", tarball::made(&binary, STATIC_TARGET, version, staged, folder)?.display());
    Ok(true)
}

/// The static program, with optimisation. Says what is needed where the target is not to be had.
pub(crate) fn built_static() -> Result<Option<PathBuf>> {
    if !install::static_target(STATIC_TARGET) {
        println!(
            "NOT MADE: the static program. It needs Rust's target {STATIC_TARGET}, which is not here and could not be fetched: \
             rustup target add {STATIC_TARGET}"
        );
        return Ok(None);
    }
    Ok(Some(built(Some(STATIC_TARGET))?))
}

/// Where [`built_static`] leaves it.
pub(crate) fn static_program() -> PathBuf {
    tool::target_dir().join(STATIC_TARGET).join("release/switchyard")
}

/// Builds the program with optimisation.
fn built(target: Option<&str>) -> Result<PathBuf> {
    let mut command = tool::cargo(&["build", "--release", "--bin", "switchyard"]);
    command.args(target.iter().flat_map(|target| ["--target", target]));
    if !tool::succeeds(&mut command)? {
        bail!("the program could not be built");
    }
    Ok(target.map_or_else(|| tool::target_dir().join("release/switchyard"), |_| static_program()))
}

/// What `switchyard --version` says: `switchyard 0.1.0 (x86_64-unknown-linux-gnu)`.
struct Version {
    number: String,
    target: String,
}

fn version_of(binary: &Path) -> Result<Version> {
    let said = tool::answer(&mut tool::program(binary, &["--version"]));
    let said = said.with_context(|| format!("{} --version failed", binary.display()))?;
    let mut words = said.split_whitespace().skip(1);
    match (words.next(), words.next().and_then(|word| word.strip_prefix('(')?.strip_suffix(')'))) {
        (Some(number), Some(target)) => Ok(Version { number: number.to_owned(), target: target.to_owned() }),
        _ => bail!("found {said:?}, expected name, version and (target)"),
    }
}

/// Manual pages and completions, as the program itself writes them, the notices of what is linked in, and Debian's changelog.
fn stage(binary: &Path, staged: &Path, deb_version: &str) -> Result<()> {
    let (man, completions) = (staged.join("man"), staged.join("completions"));
    for folder in [&man, &completions] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if tool::answer(tool::program(binary, &["man"]).arg(&man)).is_none() {
        bail!("{} man {} failed", binary.display(), man.display());
    }
    for (shell, file) in [("bash", "switchyard.bash"), ("zsh", "_switchyard"), ("fish", "switchyard.fish")] {
        let text = tool::answer(&mut tool::program(binary, &["completions", shell]));
        let text = text.with_context(|| format!("{} completions {shell} failed", binary.display()))?;
        fs::write(completions.join(file), text)?;
    }
    notices::write(&version_of(binary)?.target, staged)?;
    fs::write(staged.join("changelog.Debian"), changelog(deb_version)?).context("cannot write the changelog")
}

/// One entry, dated by the commit, so that one commit makes one package.
fn changelog(deb_version: &str) -> Result<String> {
    let date = tool::answer(&mut tool::program("git", &["log", "-1", "--format=%aD"]))
        .context("git does not say when the last commit was made")?;
    Ok(format!(
        "switchyard ({deb_version}) unstable; urgency=medium\n\n  * What changed is in \
         /usr/share/doc/switchyard/changelog.gz.\n\n -- {}  {}\n",
        maintainer(),
        date.trim()
    ))
}

fn maintainer() -> String {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    match (variable("DEBFULLNAME"), variable("DEBEMAIL")) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        _ => MAINTAINER.to_owned(),
    }
}

/// The Debian package. Its debug information goes into a package beside it, unless it is to be quick.
fn deb(binary: &Path, staged: &Path, folder: &Path, version: &str, quick: bool) -> Result<PathBuf> {
    // cargo-deb takes the program from where cargo would have built it.
    let target = staged.join("cargo");
    let built = target.join("release/switchyard");
    fs::create_dir_all(target.join("release"))?;
    fs::copy(binary, &built).with_context(|| format!("cannot copy {}", binary.display()))?;
    let mut command = install::CARGO_DEB.program(&["deb", "--package", "switchyard", "--no-build", "--quiet"])?;
    command.args(["--locked", "--deb-version", version, "--maintainer", &maintainer(), "--output"]).arg(folder);
    command.args(if quick { ["--strip", "--fast"].as_slice() } else { ["--dbgsym"].as_slice() });
    let output = command.env("CARGO_TARGET_DIR", &target).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("cargo-deb failed");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let deb = said.lines().map(str::trim).find(|line| line.ends_with(".deb")).map(PathBuf::from);
    deb.filter(|path| path.exists()).with_context(|| format!("cargo-deb names no package: {said}"))
}
