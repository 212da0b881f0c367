//! The standing orders, routes and drains, and what they may not do to each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::super::raw::{Raw, RawDrain, RawOrder, RawRoute, Text};
use super::super::report::{ProblemKind, Report, quote};
use super::super::secret;
use super::super::url::{escape, host_name};
use super::super::{
    DestinationKind, DestinationUrl, Drain, Place, Route, Source, TlsFiles, WhenFull,
};
use super::check_path;
use super::delivery::need_spool;
use super::value::{choice, connections};

/// The longest tenant key, in bytes.
const APP_BYTES_MAX: usize = 255;

const WHEN_FULLS: &[(&str, WhenFull)] =
    &[("spool", WhenFull::Spool), ("shed", WhenFull::Shed), ("block", WhenFull::Block)];

/// Routes and drains; `None` for a list of which one could not be read.
pub(super) fn check(
    raw: &Raw,
    sources: &[Option<Source>],
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> (Option<Vec<Route>>, Option<Vec<Drain>>) {
    let mut shared = Shared::new(raw, sources, env);
    let routes: Vec<_> =
        raw.routes.iter().map(|route| check_route(route, &mut shared, report)).collect();
    let drains: Vec<_> =
        raw.drains.iter().map(|drain| check_drain(drain, &mut shared, report)).collect();
    let terms = shared.terms;
    let routes = routes.into_iter().map(|route| route.map(|route| route.under(&terms)));
    let drains = drains.into_iter().map(|drain| drain.map(|drain| drain.under(&terms)));
    (routes.collect(), drains.collect())
}

/// What orders share: destinations, files, and the way back into this process.
struct Shared<'a> {
    raw: &'a Raw,
    sources: &'a [Option<Source>],
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Sources by transport (TCP or not) and port.
    listeners: HashMap<(bool, u16), Vec<usize>>,
    /// By canonical URL: what its orders say of it together.
    terms: HashMap<String, Terms>,
    /// By canonical URL and key: the first value that is written, and where.
    written: HashMap<(String, &'static str), (String, usize)>,
    /// By path: the canonical URL that writes the file, and where it stands.
    files: HashMap<PathBuf, (String, usize)>,
    /// By app and canonical URL: where.
    drains: HashMap<(String, String), usize>,
}

/// What orders say of a destination.
#[derive(Clone, Default, PartialEq)]
struct Terms {
    when_full: Option<WhenFull>,
    max_connections: Option<u16>,
    tls: TlsFiles,
}

impl Terms {
    /// Takes on what is not said yet.
    fn join(&mut self, other: Self) {
        let Self { when_full, max_connections, tls } = other;
        self.when_full = self.when_full.or(when_full);
        self.max_connections = self.max_connections.or(max_connections);
        let own = std::mem::take(&mut self.tls);
        self.tls = TlsFiles {
            ca: own.ca.or(tls.ca),
            cert: own.cert.or(tls.cert),
            key: own.key.or(tls.key),
            server_name: own.server_name.or(tls.server_name),
        };
    }
}

impl Route {
    fn under(self, terms: &HashMap<String, Terms>) -> Self {
        let Some(terms) = terms.get(&self.destination.canonical).cloned() else { return self };
        let Terms { when_full, max_connections, tls } = terms;
        Self { when_full, max_connections, tls, ..self }
    }
}

impl Drain {
    fn under(self, terms: &HashMap<String, Terms>) -> Self {
        let Some(terms) = terms.get(&self.destination.canonical).cloned() else { return self };
        let Terms { when_full, max_connections, tls } = terms;
        Self { when_full, max_connections, tls, ..self }
    }
}

fn check_route(raw: &RawRoute, shared: &mut Shared<'_>, report: &mut Report<'_>) -> Option<Route> {
    let destination = check_order(&raw.order, shared, report)?;
    let name = raw.name.as_ref()?.get_ref().clone();
    let Terms { when_full, max_connections, tls } = Terms::default();
    Some(Route { name, destination, when_full, max_connections, tls })
}

fn check_drain(raw: &RawDrain, shared: &mut Shared<'_>, report: &mut Report<'_>) -> Option<Drain> {
    if let Some(text) = raw.app.as_ref().filter(|text| !is_app(text.get_ref())) {
        report.add(text.span().start, ProblemKind::App { value: quote(text.get_ref()) });
    }
    let destination = check_order(&raw.order, shared, report)?;
    let app = raw.app.as_ref()?.get_ref().clone();
    let key = (app.clone(), destination.canonical.clone());
    if let Some(first) = shared.drains.get(&key) {
        let line = Some(report.line(*first));
        let what = format!("the drain of {} to {}", quote(&key.0), quote(&key.1));
        report.add(raw.at, ProblemKind::Duplicate { what, line });
    } else {
        shared.drains.insert(key, raw.at);
    }
    let Terms { when_full, max_connections, tls } = Terms::default();
    Some(Drain { app, destination, when_full, max_connections, tls })
}

/// What routes and drains have in common. What it says of its destination goes to `shared`.
fn check_order(
    raw: &RawOrder,
    shared: &mut Shared<'_>,
    report: &mut Report<'_>,
) -> Option<DestinationUrl> {
    let destination = raw.url.as_ref().and_then(|url| destination(url, shared.env, report));
    let kind = destination.as_ref().map(|destination| &destination.kind);
    let when_full = raw.when_full.as_ref().map(|text| {
        let found = choice("when_full", Some(text), WhenFull::Shed, WHEN_FULLS, report);
        if found == WhenFull::Spool {
            let words = ("when_full = \"spool\"", "\"shed\", \"block\"");
            need_spool(&shared.raw.spool, text, words, report);
        }
        found
    });
    let number = raw.max_connections.as_ref();
    let max_connections = number.map(|number| connections(Some(number), report));
    if let (Some(kind), Some(number)) = (kind, number)
        && kind.stream().is_none()
    {
        let (key, reason) = ("max_connections", "there is one way to it");
        report.add(number.span().start, pointless(key, kind, reason));
    }
    let tls = check_tls(raw, kind, report);
    let (destination, url) = (destination?, raw.url.as_ref()?);
    shared.check(&destination, url, report);
    shared.agree(raw, &destination, report);
    let terms = Terms { when_full, max_connections, tls };
    if terms != Terms::default() {
        shared.terms.entry(destination.canonical.clone()).or_default().join(terms);
    }
    Some(destination)
}

fn check_tls(raw: &RawOrder, kind: Option<&DestinationKind>, report: &mut Report<'_>) -> TlsFiles {
    if let Some(kind) = kind.filter(|kind| !kind.is_tls()) {
        let keys = [
            ("ca", &raw.ca),
            ("cert", &raw.cert),
            ("key", &raw.key),
            ("server_name", &raw.server_name),
        ];
        for (key, text) in keys {
            if let Some(text) = text {
                report.add(text.span().start, pointless(key, kind, "it has no TLS"));
            }
        }
        return TlsFiles::default();
    }
    let alone = match (&raw.cert, &raw.key) {
        (Some(cert), None) => Some(("cert", "key", cert)),
        (None, Some(key)) => Some(("key", "cert", key)),
        _ => None,
    };
    if let Some((key, other, text)) = alone {
        report.add(text.span().start, ProblemKind::Alone { key, other });
    }
    TlsFiles {
        ca: pem_path("ca", raw.ca.as_ref(), report),
        cert: pem_path("cert", raw.cert.as_ref(), report),
        key: pem_path("key", raw.key.as_ref(), report),
        server_name: raw.server_name.as_ref().and_then(|text| server_name(text, report)),
    }
}

/// A path, and not the key itself, which would show wherever the path does.
pub(super) fn pem_path(
    key: &'static str,
    text: Option<&Text>,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let text = text?;
    if is_pem(text) {
        report.add(text.span().start, ProblemKind::Pem { key });
        return None;
    }
    Some(check_path(key, text, report))
}

fn is_pem(text: &Text) -> bool {
    text.get_ref().contains("-----BEGIN")
}

fn server_name(text: &Text, report: &mut Report<'_>) -> Option<String> {
    let name = host_name(text.get_ref());
    if name.is_none() {
        let value = quote(text.get_ref());
        report.add(text.span().start, ProblemKind::ServerName { value });
    }
    name
}

fn pointless(key: &'static str, kind: &DestinationKind, reason: &'static str) -> ProblemKind {
    ProblemKind::Pointless { key, scheme: kind.scheme(), side: "destination", reason }
}

/// One tenant key, or `*`; nothing that looks like a pattern.
fn is_app(text: &str) -> bool {
    let is_exact = !text.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control());
    text == "*" || ((1..=APP_BYTES_MAX).contains(&text.len()) && is_exact)
}

fn destination(
    url: &Text,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> Option<DestinationUrl> {
    let parse = |text: String| {
        DestinationUrl::parse(&text).map_err(|error| ProblemKind::Url { key: "url", error })
    };
    let parsed = with_credentials(url.get_ref(), env).and_then(parse);
    parsed.map_err(|kind| report.add(url.span().start, kind)).ok()
}

/// A URL with the environment's values in its credentials, the one place where they may stand.
fn with_credentials(
    url: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ProblemKind> {
    const REFERENCE: &str = "${env:";
    if !url.contains(REFERENCE) {
        return Ok(url.to_owned());
    }
    let is_http = |scheme: &str| matches!(scheme, "http" | "https");
    let split = url.split_once("://").filter(|(scheme, _)| is_http(scheme)).and_then(|parts| {
        let (scheme, rest) = parts;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (credentials, _) = rest.get(..end)?.rsplit_once('@')?;
        Some((scheme, credentials, rest.get(credentials.len()..)?))
    });
    let split = split.filter(|(.., behind)| !behind.contains(REFERENCE));
    let no_secret = || ProblemKind::NoSecret { key: "url".to_owned() };
    let (scheme, credentials, behind) = split.ok_or_else(no_secret)?;
    let escaped = |name: &str| env(name).map(|value| escape(&value).replace('/', "%2F"));
    let refused = |error| ProblemKind::Secret { key: "url", error };
    let credentials = secret::expand(credentials, &escaped).map_err(refused)?;
    Ok(format!("{scheme}://{}{behind}", credentials.expose()))
}

impl<'a> Shared<'a> {
    fn new(
        raw: &'a Raw,
        sources: &'a [Option<Source>],
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut listeners: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            let Some(place) = source.as_ref().map(|source| source.url.place()) else { continue };
            if let Some(address) = place.address() {
                let listener = (matches!(place, Place::Tcp(_)), address.port());
                listeners.entry(listener).or_default().push(index);
            }
        }
        Self {
            raw,
            sources,
            env,
            listeners,
            terms: HashMap::new(),
            written: HashMap::new(),
            files: HashMap::new(),
            drains: HashMap::new(),
        }
    }

    /// Reports what an order says of its destination if another has said otherwise.
    fn agree(&mut self, raw: &RawOrder, destination: &DestinationUrl, report: &mut Report<'_>) {
        let text = |text: &Option<Text>| {
            let text = text.as_ref().filter(|text| !is_pem(text))?;
            Some((text.get_ref().clone(), text.span().start))
        };
        let connections = raw.max_connections.as_ref();
        let values = [
            ("when_full", text(&raw.when_full)),
            ("max_connections", connections.map(|n| (n.get_ref().to_string(), n.span().start))),
            ("ca", text(&raw.ca)),
            ("cert", text(&raw.cert)),
            ("key", text(&raw.key)),
            ("server_name", text(&raw.server_name)),
        ];
        for (key, value) in values {
            let Some((value, at)) = value else { continue };
            let place = (destination.canonical.clone(), key);
            let (other, first) = self.written.entry(place).or_insert_with(|| (value.clone(), at));
            if *other != value {
                let show =
                    |value: String| if key == "max_connections" { value } else { quote(&value) };
                let (other, line) = (show(other.clone()), report.line(*first));
                let found = format!("{key} = {}", show(value));
                report.add(at, ProblemKind::Contradiction { found, other, line });
            }
        }
    }

    /// What one more order to a destination may not do.
    fn check(&mut self, destination: &DestinationUrl, url: &Text, report: &mut Report<'_>) {
        self.check_loop(destination, url, report);
        let canonical = &destination.canonical;
        if let DestinationKind::File { path, .. } = &destination.kind {
            let at = url.span().start;
            let place = (canonical.clone(), at);
            let (other, first) = self.files.entry(path.clone()).or_insert(place);
            if other != canonical {
                let (found, line) = (quote(canonical), report.line(*first));
                let other = quote(other);
                report.add(at, ProblemKind::Contradiction { found, other, line });
            }
        }
    }

    /// A destination that is an own listener would go round for ever.
    fn check_loop(&self, destination: &DestinationUrl, url: &Text, report: &mut Report<'_>) {
        let (is_stream, host, port) = match &destination.kind {
            DestinationKind::SyslogUdp { host, port, .. }
            | DestinationKind::Quic { host, port } => (false, host.as_str(), *port),
            kind => match kind.stream() {
                Some((host, port)) => (true, host, port),
                None => return,
            },
        };
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let Ok(host) = host.parse::<IpAddr>() else { return };
        for index in self.listeners.get(&(is_stream, port)).into_iter().flatten() {
            let Some(Some(source)) = self.sources.get(*index) else { continue };
            let Some(own) = source.url.place().address() else { continue };
            let own = own.ip();
            // `[::]` takes IPv4 too, `0.0.0.0` no IPv6.
            let is_any = own.is_unspecified() && (own.is_ipv6() || host.is_ipv4());
            if own == host || (is_any && host.is_loopback()) {
                let at = self.raw.sources.get(*index).map_or(0, |source| source.at);
                let (what, line) = (format!("source {}", quote(&source.name)), report.line(at));
                report.add(url.span().start, ProblemKind::Loop { what, line });
            }
        }
    }
}
