//! Parked records from outside: `logboom parked …`, over the API of a running gateway.
//!
//! * **What enters**: where the gateway's control listener is, and which records are meant.
//! * **What leaves**: what is parked, for people or as JSON; records that are replayed or forgotten.
//! * **Limits**: answers of at most 1 GiB; plain HTTP only.
//! * **When it fails**: the error says what the gateway said, or that none answers.
//! * **May import**: every room's library, like [`crate::run`].

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use clap::{ArgGroup, Args, Subcommand};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::spool_tool::{canonical, finished, printable, printable_json, table};

/// How long it may take to reach the gateway.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// The environment variable with the API's key, where none is named.
const KEY_VARIABLE: &str = "AUTH_KEY";
/// Characters of a cell in a list.
const CELL_CHARS_MAX: usize = 60;

/// What to do with parked records.
#[derive(Clone, Debug, Subcommand)]
pub enum ParkedCommand {
    /// List parked records, oldest first
    List(ListOptions),
    /// Show one of them
    Show(OneOptions),
    /// Send them on their way again
    Replay(ReplayOptions),
    /// Take one out for good
    Forget(OneOptions),
}

/// Which gateway.
#[derive(Args, Clone, Debug)]
pub struct Api {
    /// Control listener of the gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5000")]
    control: Uri,
    /// Environment variable with the key of the API; `AUTH_KEY` unless given
    #[arg(long, value_name = "NAME")]
    auth_key_env: Option<String>,
    /// Output for programs, as JSON
    #[arg(long)]
    json: bool,
}

/// Options of `logboom parked list`.
#[derive(Args, Clone, Debug)]
pub struct ListOptions {
    #[command(flatten)]
    api: Api,
    /// Only those that this guest failed at
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    /// Only those that this destination refused
    #[arg(long, value_name = "URL")]
    destination: Option<String>,
    /// Only those with a greater id
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: u64,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

/// Options of `logboom parked show` and `forget`.
#[derive(Args, Clone, Debug)]
pub struct OneOptions {
    #[command(flatten)]
    api: Api,
    /// Id of the parked record, as `list` shows it
    id: u64,
}

/// Options of `logboom parked replay`.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("which").required(true))]
pub struct ReplayOptions {
    #[command(flatten)]
    api: Api,
    /// Ids of parked records, as `list` shows them
    #[arg(group = "which")]
    ids: Vec<u64>,
    /// All records that this guest failed at
    #[arg(long, value_name = "NAME", group = "which")]
    guest: Option<String>,
    /// All records that this destination refused
    #[arg(long, value_name = "URL", group = "which")]
    destination: Option<String>,
    /// All parked records
    #[arg(long, group = "which")]
    all: bool,
}

/// Does it. Returns whether nothing was left undone.
///
/// # Errors
/// A gateway that does not answer, or says no; output that cannot be written.
pub fn run(command: &ParkedCommand, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut out = BufWriter::new(out);
    let done = match command {
        ParkedCommand::List(options) => list(options, &mut out),
        ParkedCommand::Show(options) => show(options, &mut out),
        ParkedCommand::Replay(options) => replay(options, &mut out),
        ParkedCommand::Forget(options) => forget(options, &mut out),
    };
    finished(done, &mut out)
}

fn list(options: &ListOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let ListOptions { api, guest, destination, after, limit } = options;
    let mut path = format!("/v1/parked?limit={limit}&after={after}");
    if let Some(guest) = guest {
        path += &format!("&guest={}", in_query(guest));
    }
    if let Some(destination) = destination {
        path += &format!("&destination={}", in_query(&canonical(destination)));
    }
    let answer = api.call(Method::GET, &path, None)?;
    let letters = answer.get("parked").and_then(Value::as_array);
    let letters = letters.context("the gateway's answer has no list")?;
    if api.json {
        for letter in letters {
            writeln!(out, "{}", printable_json(&letter.to_string()))?;
        }
        return Ok(true);
    }
    let rows = letters.iter().map(|letter| {
        let (_, name) = by(letter);
        let body = letter.get("record").map(|record| text(record, "body")).unwrap_or_default();
        [
            id(letter).to_string(),
            cell(text(letter, "parked")),
            cell(name),
            cell(text(letter, "kind")),
            cell(text(letter, "reason")),
            cell(body),
        ]
    });
    table(["ID", "PARKED", "BY", "KIND", "REASON", "BODY"], rows, out)?;
    if let Some(last) = letters.last().filter(|_| letters.len() as u64 == *limit) {
        writeln!(out, "for more: --after {}", id(last))?;
    }
    Ok(true)
}

fn show(options: &OneOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let letter = options.api.call(Method::GET, &format!("/v1/parked/{}", options.id), None)?;
    if options.api.json {
        writeln!(out, "{}", printable_json(&letter.to_string()))?;
        return Ok(true);
    }
    let (member, name) = by(&letter);
    let frame = BASE64_STANDARD.decode(text(&letter, "raw")).unwrap_or_default();
    let frame = String::from_utf8_lossy(&frame);
    let record = letter.get("record").cloned().unwrap_or_default();
    for (what, value) in [
        ("id", id(&letter).to_string().as_str()),
        ("parked", text(&letter, "parked")),
        (member, name),
        ("kind", text(&letter, "kind")),
        ("reason", text(&letter, "reason")),
        ("source", text(&letter, "source")),
        ("frame", &frame),
    ] {
        writeln!(out, "{what:<11}  {}", printable(value))?;
    }
    writeln!(out, "record {}", printable_json(&format!("{record:#}")))?;
    Ok(true)
}

fn replay(options: &ReplayOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let ReplayOptions { api, ids, guest, destination, all } = options;
    let ids: BTreeSet<u64> = ids.iter().copied().collect();
    let destination = destination.as_deref().map(canonical);
    let order = json!({ "ids": ids, "guest": guest, "destination": destination, "all": all });
    let answer = api.call(Method::POST, "/v1/parked/replay", Some(&order))?;
    let replayed = answer.get("replayed").and_then(Value::as_u64);
    let replayed = replayed.context("the gateway's answer has no number")?;
    let list = |member| answer.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let (left, under_way) = (list("left"), list("under_way"));
    let known = replayed + (left.len() + under_way.len()) as u64;
    let missing = (ids.len() as u64).saturating_sub(known);
    let is_done = left.is_empty() && missing == 0;
    if api.json {
        let answer = json!({
            "replayed": replayed,
            "under_way": under_way,
            "left": left,
            "missing": missing,
        });
        writeln!(out, "{answer}")?;
        return Ok(is_done);
    }
    writeln!(out, "{replayed} records are on their way again")?;
    if !under_way.is_empty() {
        writeln!(out, "{} were on their way already", under_way.len())?;
    }
    if !left.is_empty() {
        let left = left.iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
        writeln!(out, "left, since their source or destination is not configured: {left}")?;
    }
    if missing > 0 {
        writeln!(out, "{missing} of the ids are not parked")?;
    }
    Ok(is_done)
}

fn forget(options: &OneOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    options.api.call(Method::DELETE, &format!("/v1/parked/{}", options.id), None)?;
    if options.api.json {
        writeln!(out, "{}", json!({ "forgotten": options.id }))?;
    } else {
        writeln!(out, "{} is forgotten", options.id)?;
    }
    Ok(true)
}

/// A text member of a letter, empty if absent.
fn text<'a>(letter: &'a Value, member: &str) -> &'a str {
    letter.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn id(letter: &Value) -> u64 {
    letter.get("id").and_then(Value::as_u64).unwrap_or_default()
}

/// Who could not do with it.
fn by(letter: &Value) -> (&'static str, &str) {
    match text(letter, "guest") {
        "" => ("destination", text(letter, "destination")),
        guest => ("guest", guest),
    }
}

fn cell(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Text as a value in a query. Source: RFC 3986, section 2.3.
fn in_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

impl Api {
    /// Asks the gateway; returns the JSON of its answer, null where there is none.
    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, body) = runtime.block_on(self.ask(method, path, body))?;
        if status == StatusCode::UNAUTHORIZED {
            bail!(
                "the gateway wants the key of its API: set {KEY_VARIABLE} to [control] auth_key, or name \
                 another variable by --auth-key-env"
            );
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let said = answer.get("error").and_then(Value::as_str);
            let said =
                said.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
            bail!("the gateway answers {status}: {}", printable(&said));
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let control = &self.control;
        let host = control.host().filter(|_| control.scheme_str() == Some("http"));
        let host = host.filter(|_| control.path() == "/" && control.query().is_none());
        let host = host
            .with_context(|| format!("--control {control} is not of the form http://HOST:PORT"))?;
        let address = format!("{host}:{}", control.port_u16().unwrap_or(80));
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &address)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        if let Some(key) = self.key()? {
            request.headers_mut().insert(AUTHORIZATION, key);
        }
        let nobody = || format!("no gateway answers at {address}, --control says where it is");
        let connecting = TcpStream::connect(&address);
        let stream = tokio::time::timeout(CONNECT_MAX, connecting).await;
        let stream = stream.with_context(nobody)?.with_context(nobody)?;
        let session = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = session.with_context(nobody)?;
        // How it ends, the request will say.
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        let answer = answer.with_context(|| format!("no answer of the gateway at {address}"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer of {address} breaks off: {error}"))?;
        driver.abort();
        Ok((status, body.to_bytes()))
    }

    /// What to show as `Authorization`.
    fn key(&self) -> anyhow::Result<Option<HeaderValue>> {
        let name = self.auth_key_env.as_deref();
        let key = match (std::env::var(name.unwrap_or(KEY_VARIABLE)), name) {
            (Ok(key), _) if !key.is_empty() => key,
            (_, Some(name)) => bail!("--auth-key-env: the environment variable {name} is not set"),
            (_, None) => return Ok(None),
        };
        let mut value =
            HeaderValue::from_str(&key).ok().context("the key cannot stand in a header of HTTP")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_any_text() {
        assert_eq!(
            in_query("https://h:1/a?b=c&d#é ~"),
            "https%3A%2F%2Fh%3A1%2Fa%3Fb%3Dc%26d%23%C3%A9%20~"
        );
    }

    #[test]
    fn a_cell_is_short_and_on_one_line() {
        assert_eq!(cell("a\nb\u{1b}"), "a\\u000ab\\u001b");
        assert_eq!(cell(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
    }
}
