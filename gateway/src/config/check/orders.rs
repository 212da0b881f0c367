//! The standing orders, routes and drains, and what they may not do to each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::super::raw::{Raw, RawDrain, RawRoute, Text};
use super::super::report::{ProblemKind, Report, quote};
use super::super::{DestinationKind, DestinationUrl, Drain, Route, Source, SourceUrl, WhenFull};
use super::value::choice;

/// The longest tenant key, in bytes.
const APP_BYTES_MAX: usize = 255;

const WHEN_FULLS: &[(&str, WhenFull)] = &[("block", WhenFull::Block), ("shed", WhenFull::Shed)];

/// Routes and drains; `None` for a list of which one could not be read.
pub(super) fn check(
    raw: &Raw,
    sources: &[Option<Source>],
    report: &mut Report<'_>,
) -> (Option<Vec<Route>>, Option<Vec<Drain>>) {
    let mut shared = Shared::new(raw, sources);
    let routes: Vec<_> =
        raw.routes.iter().map(|route| check_route(route, &mut shared, report)).collect();
    let drains: Vec<_> =
        raw.drains.iter().map(|drain| check_drain(drain, &mut shared, report)).collect();
    (routes.into_iter().collect(), drains.into_iter().collect())
}

/// What orders share: destinations, files, and the way back into this process.
struct Shared<'a> {
    raw: &'a Raw,
    sources: &'a [Option<Source>],
    /// Sources by transport (TCP or not) and port.
    listeners: HashMap<(bool, u16), Vec<usize>>,
    /// By canonical URL: the first `when_full` that is written, and where.
    when_full: HashMap<String, (WhenFull, usize)>,
    /// By path: the canonical URL that writes the file, and where it stands.
    files: HashMap<PathBuf, (String, usize)>,
    /// By app and canonical URL: where.
    drains: HashMap<(String, String), usize>,
}

fn check_route(raw: &RawRoute, shared: &mut Shared<'_>, report: &mut Report<'_>) -> Option<Route> {
    let url = raw.url.as_ref();
    let destination = url.and_then(|url| destination(url, report));
    let when_full = when_full(raw.when_full.as_ref(), report);
    let destination = destination?;
    shared.check(&destination, url?, raw.when_full.as_ref().zip(when_full), report);
    Some(Route { name: raw.name.as_ref()?.get_ref().clone(), destination, when_full })
}

fn check_drain(raw: &RawDrain, shared: &mut Shared<'_>, report: &mut Report<'_>) -> Option<Drain> {
    let (app, url) = (raw.app.as_ref(), raw.url.as_ref());
    if let Some(text) = app.filter(|text| !is_app(text.get_ref())) {
        report.add(text.span().start, ProblemKind::App { value: quote(text.get_ref()) });
    }
    let destination = url.and_then(|url| destination(url, report));
    let when_full = when_full(raw.when_full.as_ref(), report);
    let (destination, url, app) = (destination?, url?, app?);
    shared.check(&destination, url, raw.when_full.as_ref().zip(when_full), report);
    let key = (app.get_ref().clone(), destination.canonical.clone());
    if let Some(first) = shared.drains.get(&key) {
        let line = Some(report.line(*first));
        let what = format!("the drain of {} to {}", quote(&key.0), quote(&key.1));
        report.add(raw.at, ProblemKind::Duplicate { what, line });
    } else {
        shared.drains.insert(key, raw.at);
    }
    Some(Drain { app: app.get_ref().clone(), destination, when_full })
}

/// One tenant key, or `*`; nothing that looks like a pattern.
fn is_app(text: &str) -> bool {
    let is_exact = !text.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control());
    text == "*" || ((1..=APP_BYTES_MAX).contains(&text.len()) && is_exact)
}

fn destination(url: &Text, report: &mut Report<'_>) -> Option<DestinationUrl> {
    let refuse = |error| report.add(url.span().start, ProblemKind::Url { key: "url", error });
    DestinationUrl::parse(url.get_ref()).map_err(refuse).ok()
}

fn when_full(text: Option<&Text>, report: &mut Report<'_>) -> Option<WhenFull> {
    let text = text?;
    if text.get_ref() == "spool" {
        let what = "when_full = \"spool\"".to_owned();
        let kind = ProblemKind::NotYet { what, supported: "block, shed".to_owned() };
        report.add(text.span().start, kind);
        return None;
    }
    Some(choice("when_full", Some(text), WhenFull::Shed, WHEN_FULLS, report))
}

impl<'a> Shared<'a> {
    fn new(raw: &'a Raw, sources: &'a [Option<Source>]) -> Self {
        let mut listeners: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            let Some(source) = source else { continue };
            let is_tcp = matches!(source.url, SourceUrl::SyslogTcp(_));
            listeners.entry((is_tcp, source.url.address().port())).or_default().push(index);
        }
        Self {
            raw,
            sources,
            listeners,
            when_full: HashMap::new(),
            files: HashMap::new(),
            drains: HashMap::new(),
        }
    }

    /// What one more order to a destination may not do.
    fn check(
        &mut self,
        destination: &DestinationUrl,
        url: &Text,
        when_full: Option<(&Text, WhenFull)>,
        report: &mut Report<'_>,
    ) {
        self.check_loop(destination, url, report);
        let canonical = &destination.canonical;
        if let Some((text, when_full)) = when_full {
            let at = text.span().start;
            let first = *self.when_full.entry(canonical.clone()).or_insert((when_full, at));
            if first.0 != when_full {
                let found = format!("when_full = {}", write(when_full));
                let (other, line) = (write(first.0).to_owned(), report.line(first.1));
                report.add(at, ProblemKind::Contradiction { found, other, line });
            }
        }
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
        let (is_tcp, host, port) = match &destination.kind {
            DestinationKind::SyslogTcp { host, port, .. } => (true, host, *port),
            DestinationKind::SyslogUdp { host, port, .. } => (false, host, *port),
            DestinationKind::File { .. } | DestinationKind::Stdout { .. } => return,
        };
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let Ok(host) = host.parse::<IpAddr>() else { return };
        for index in self.listeners.get(&(is_tcp, port)).into_iter().flatten() {
            let Some(Some(source)) = self.sources.get(*index) else { continue };
            let own = source.url.address().ip();
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

fn write(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::Block => "\"block\"",
        WhenFull::Shed => "\"shed\"",
    }
}
