//! Tells the program which target it was built for: `--version` says it.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=SWITCHYARD_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
