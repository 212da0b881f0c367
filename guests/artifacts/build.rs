//! Builds the guests' workspace for `wasm32-wasip2` and writes the constants of the library.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The target of components.
const TARGET: &str = "wasm32-wasip2";
/// Guests that are embedded: the name in `std:NAME`, which is also that of the crate.
const STANDARD: [&str; 8] = ["access", "count", "filter", "json", "k8s", "logfmt", "oom", "route"];
/// Guests for tests and benches: constant and crate.
const OTHERS: [(&str, &str, &str); 4] = [
    ("HELLO", "hello", "The example for authors."),
    ("HOSTILE", "hostile", "A guest that breaks the contract as it is told to."),
    ("NOOP", "noop", "A guest that does next to nothing, for benches."),
    ("WRONG_WORLD", "wrong_world", "A component that is no guest."),
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows what a failed build script wrote.
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let guests = here.parent().ok_or("the guests' workspace is the folder above")?;
    for watched in ["../../wit", "../../guest-sdk/src", "../../guest-sdk/Cargo.toml"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    watch(guests, &here)?;
    let target = out.join("guests");
    compile(guests, &target)?;
    let built = target.join(TARGET).join("release");
    fs::write(out.join("artifacts.rs"), constants(&built)).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

/// Every folder of the workspace but this crate's and what builds leave.
fn watch(guests: &Path, here: &Path) -> Result<(), String> {
    let entries = fs::read_dir(guests).map_err(|error| error.to_string())?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path != here && !path.ends_with("target") {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}

fn compile(guests: &Path, target: &Path) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(target)
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags={:?}", remapped(guests)))
        .current_dir(guests);
    // What the outer build was told is not for the inner one: other flags, clippy as the compiler,
    // the outer package's variables.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_outer = text.starts_with("CARGO_") && !is_kept(&text)
            || matches!(text.as_ref(), "RUSTFLAGS" | "RUSTC" | "RUSTDOC" | "TARGET" | "OUT_DIR")
            || text.starts_with("RUSTC_");
        if is_outer {
            command.env_remove(&name);
        }
    }
    let done = command.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let hint =
        if said.contains("can't find crate for `std`") || said.contains("may not be installed") {
            format!("; the target is missing: rustup target add {TARGET}")
        } else {
            String::new()
        };
    Err(format!("the guests do not build{hint}\n{said}").replace('\n', "\ncargo::error="))
}

/// Flags that keep the paths of this machine out of the components, so that one source gives one
/// digest wherever it is built. They join those of the workspace's own configuration.
fn remapped(guests: &Path) -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = env::var_os("HOME").or_else(|| env::var_os("USERPROFILE"))?;
        Some(Path::new(&home).join(".cargo"))
    });
    let folders = [(home, "/cargo"), (guests.parent().map(Path::to_path_buf), "/logboom")];
    folders
        .into_iter()
        .filter_map(|(folder, name)| {
            Some(format!("--remap-path-prefix={}={name}", folder?.display()))
        })
        .collect()
}

/// Variables by which cargo finds its home, registries and network settings.
fn is_kept(name: &str) -> bool {
    ["CARGO_HOME", "CARGO_NET", "CARGO_HTTP", "CARGO_REGISTR", "CARGO_TERM", "CARGO_BUILD_JOBS"]
        .iter()
        .any(|kept| name.starts_with(kept))
}

fn constants(built: &Path) -> String {
    let mut text = String::new();
    let mut add = |constant: &str, file: String, help: &str| {
        let path = built.join(file);
        // Writing to a string does not fail.
        writeln!(text, "/// {help}\npub const {constant}: &[u8] = include_bytes!({path:?});")
            .unwrap_or_default();
    };
    for name in STANDARD {
        let help = format!("The standard guest `std:{name}`.");
        add(&name.to_uppercase(), format!("guest_{name}.wasm"), &help);
    }
    for (constant, name, help) in OTHERS {
        add(constant, format!("guest_{name}.wasm"), help);
    }
    text.push_str("/// The standard guests by name, sorted.\n");
    text.push_str("pub const STANDARD: &[(&str, &[u8])] = &[");
    for name in STANDARD {
        write!(text, "(\"{name}\", {}), ", name.to_uppercase()).unwrap_or_default();
    }
    text.push_str("];\n");
    text
}
