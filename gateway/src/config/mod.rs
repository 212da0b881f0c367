//! The configuration: one TOML file turned into types that hold no invalid state.
//!
//! * **What enters**: the text of one file, and a way to look up environment variables.
//! * **What leaves**: a [`Config`], or [`Problems`]: everything that is wrong with the text, each
//!   with its line, what was found and what is allowed.
//! * **Limits**: a file of at most 64 MiB, 65,535 sources, values nested 80 deep.
//! * **When it fails**: nothing of a file with a problem comes into force.
//! * **May import**: nothing of this workspace.
//!
//! The way of the text: `raw` mirrors it key by key and refuses what it does not know,
//! `check` makes the types, `defaults` fills in what was left out, `report` collects what
//! is wrong on the way.

mod check;
mod defaults;
mod delivery;
mod destination;
mod guest;
mod json;
mod network;
mod raw;
mod report;
mod secret;
mod source;
mod source_grpc;
mod source_http;
mod template;
mod unit;
mod url;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use delivery::{Durability, Parked, Spool, TlsFiles, WhenFull};
pub use destination::{
    Credentials, DestinationKind, DestinationUrl, HttpDestination, HttpFormat, HttpVersion,
    LineFormat, WireFormat, WireFraming,
};
pub use guest::{Component, Guest, OnFault, STANDARD_GUESTS};
pub use network::{Cidr, CidrError, Endpoints, Guard, Network};
pub use report::{Problem, ProblemKind, Problems};
pub use secret::{Secret, SecretError};
pub use source::{
    Clients, Compression, Format, Framing, Oversize, Place, Source, SourceTls, SourceUrl,
};
pub use source_grpc::{AccessLine, SourceGrpc};
pub use source_http::{Accounts, SourceHttp};
pub use template::{AppTemplate, TemplateError, TemplatePart};
pub use url::UrlError;

use report::Report;

/// The largest file that is read, in bytes: some 100,000 drains with long URLs take a quarter.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[control]`: the listener of the API and of the metrics.
    pub control: Control,
    /// `[limits]`: what the process may use.
    pub limits: Limits,
    /// `[spool]`: records on disk that wait for their destinations.
    pub spool: Spool,
    /// `[spool] durability`: that of sources without a pipeline.
    pub durability: Durability,
    /// `[parked]`: how long refused records are kept.
    pub parked: Parked,
    /// `[network]`: which addresses destinations may have.
    pub network: Network,
    /// `data`: the folder for what outlives the process, relative to the working directory.
    pub data: PathBuf,
    /// `[[source]]` in the order of the file; names and addresses differ.
    pub sources: Vec<Source>,
    /// `[[guest]]` in the order of the file; names differ.
    pub guests: Vec<Guest>,
    /// `[[pipeline]]` in the order of the file.
    pub pipelines: Vec<Pipeline>,
    /// `[[route]]` in the order of the file; names differ.
    pub routes: Vec<Route>,
    /// `[[drain]]` in the order of the file; pairs of app and destination differ.
    pub drains: Vec<Drain>,
}

/// The listener of the API and of the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Where it listens, TCP.
    pub listen: SocketAddr,
    /// What a caller of the API must show. Without it the API asks for nothing.
    pub auth_key: Option<Secret>,
}

/// What the process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to one destination at a time, 1 to 1024.
    pub max_connections: u16,
    /// Bytes of records in flight in the whole process.
    pub memory: usize,
    /// Bytes of one record; [`Source::oversize`] says what becomes of a longer one.
    pub record: usize,
    /// Bytes that may wait for one destination; never more than `memory`.
    pub queue: usize,
    /// How long a shutdown may take before what is left is given up.
    pub shutdown: Duration,
    /// How long one attempt of a request to a destination may take.
    pub attempt: Duration,
}

/// Guests between sources and routing. Everything is an index into the lists of [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Whose records pass: at least one source, each in at most one pipeline.
    pub sources: Vec<usize>,
    /// Through which guests, in this order; none twice.
    pub guests: Vec<usize>,
    /// Which routes take every record, besides what routers decide; none twice.
    pub routes: Vec<usize>,
    /// When its sources may be told that a record has been taken in.
    pub durability: Durability,
}

/// The operator's named standing order. Orders that share a destination, routes and drains, have
/// the same in all fields that are about the destination: what one of them says holds for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// How pipelines and routers call it.
    pub name: String,
    /// Where the records go.
    pub destination: DestinationUrl,
    /// What happens when the destination's queue is full; `None` leaves it to the gateway: the spool
    /// where there is one, else shedding.
    pub when_full: Option<WhenFull>,
    /// Connections to the destination at a time, 1 to 1024, in the place of
    /// [`Limits::max_connections`].
    pub max_connections: Option<u16>,
    /// Files and name for TLS.
    pub tls: TlsFiles,
}

/// An app's standing order: send my records to this URL. Shares its destination as [`Route`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The tenant key (`app-space`), or `*` for every app.
    pub app: String,
    /// Where the records go.
    pub destination: DestinationUrl,
    /// As in [`Route::when_full`].
    pub when_full: Option<WhenFull>,
    /// As in [`Route::max_connections`].
    pub max_connections: Option<u16>,
    /// As in [`Route::tls`].
    pub tls: TlsFiles,
}

impl Config {
    /// The text of the configuration that `run` uses without a file.
    pub const EMBEDDED: &'static str = include_str!("default.toml");

    /// Reads and checks a file. `${env:NAME}` looks in the environment of the process.
    ///
    /// # Errors
    ///
    /// All that is wrong with the file, or the one reason why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(kind) => return Err(Problems::whole_file(name, kind)),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &name, &|variable| std::env::var(variable).ok()),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let text = String::from_utf8_lossy(valid);
                let mut report = Report::new(&text);
                report.add(text.len(), ProblemKind::NotUtf8);
                Err(report.finish(name))
            }
        }
    }

    /// Checks a text. `name` stands for the file in the report; `env` looks up `${env:NAME}`.
    ///
    /// # Errors
    ///
    /// All that is wrong with the text, by line.
    pub fn parse(
        text: &str,
        name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Problems> {
        // A byte order mark is no part of the text, and of no column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut report = Report::new(text);
        let raw = raw::Raw::read(text, &mut report);
        let config = check::check(&raw, env, &mut report);
        match config {
            Some(config) if report.is_empty() => Ok(config),
            _ => Err(report.finish(name.to_owned())),
        }
    }

    /// The configuration of [`Config::EMBEDDED`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "the text is compiled in, and a test parses it")]
    pub fn embedded() -> Self {
        Self::parse(Self::EMBEDDED, "default.toml", &|_| None)
            .expect("the embedded configuration is valid")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ProblemKind> {
    let file = std::fs::File::open(path).map_err(ProblemKind::Unreadable)?;
    let mut bytes = Vec::new();
    let size =
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(ProblemKind::Unreadable)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(ProblemKind::FileTooLarge { most: FILE_BYTES_MAX });
    }
    Ok(bytes)
}
