//! From the text as it stands to types with no invalid state.
//!
//! Every problem is reported where it is found, and the check goes on with a stand-in, so that one
//! run tells all. Nothing with a stand-in ever leaves: [`check`] gives a configuration only if all
//! its parts are whole, and its caller drops it if the report has anything in it.

mod delivery;
mod http;
mod network;
mod orders;
mod sources;
mod value;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::defaults;
use super::raw::{Raw, RawControl, RawGuest, RawLimits, RawPipeline, Text, Texts};
use super::report::{ProblemKind, Report, nearest, quote};
use super::secret::{self, Secret};
use super::unit;
use super::{Component, Config, Control, Guest, Limits, OnFault, Pipeline, STANDARD_GUESTS};
use value::{choice, connections, count, duration, part, size};

const ON_FAULTS: &[(&str, OnFault)] =
    &[("park", OnFault::Park), ("pass", OnFault::Pass), ("drop", OnFault::Drop)];

/// Checks a whole file. `None` only if something was reported.
pub(super) fn check(
    raw: &Raw,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> Option<Config> {
    let source_names = Names::of("source", raw.sources.iter().map(|s| s.name.as_ref()), report);
    let guest_names = Names::of("guest", raw.guests.iter().map(|g| g.name.as_ref()), report);
    let route_names = Names::of("route", raw.routes.iter().map(|r| r.name.as_ref()), report);

    let control = check_control(&raw.control, env, report);
    let limits = check_limits(&raw.limits, report);
    let data = check_data(raw.data.as_ref(), report);
    let spool = delivery::check_spool(&raw.spool, &data, report);
    let durability = delivery::check_durability(raw, report);
    let parked = delivery::check_parked(&raw.parked, report);
    let network = network::check(&raw.network, report);
    let sources: Vec<_> = raw.sources.iter().map(|raw| sources::check(raw, env, report)).collect();
    let guests: Vec<_> = raw.guests.iter().map(|guest| check_guest(guest, report)).collect();
    sources::check_listeners(&sources, raw, &control, report);

    let mut taken = HashMap::new();
    let pipelines = raw.pipelines.iter().map(|pipeline| Pipeline {
        sources: check_sources(pipeline, &source_names, &mut taken, report),
        guests: resolve("guests", pipeline.guests.as_ref(), &guest_names, report),
        routes: resolve("routes", pipeline.routes.as_ref(), &route_names, report),
        durability: delivery::check_pipeline(raw, pipeline, durability, report),
    });
    let pipelines = pipelines.collect();
    let (routes, drains) = orders::check(raw, &sources, env, report);

    Some(Config {
        control,
        limits,
        spool,
        durability,
        parked,
        network,
        data,
        sources: sources.into_iter().collect::<Option<_>>()?,
        guests: guests.into_iter().collect::<Option<_>>()?,
        pipelines,
        routes: routes?,
        drains: drains?,
    })
}

/// The names of one kind of table, also of those tables that have other problems.
struct Names<'a> {
    what: &'static str,
    /// Which table has the name, and where it is written.
    places: HashMap<&'a str, (usize, usize)>,
    in_order: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// Collects the names; a name that is none or is there twice is reported.
    fn of(
        what: &'static str,
        names: impl Iterator<Item = Option<&'a Text>>,
        report: &mut Report<'_>,
    ) -> Self {
        let mut found = Self { what, places: HashMap::new(), in_order: Vec::new() };
        for (index, name) in names.enumerate() {
            let Some(name) = name else { continue };
            let (text, at) = (name.get_ref().as_str(), name.span().start);
            if !is_name(text) {
                report.add(at, ProblemKind::Name { value: quote(text) });
            }
            if let Some((_, first)) = found.places.get(text) {
                let (what, line) = (format!("{what} name {}", quote(text)), *first);
                report.add(at, ProblemKind::Duplicate { what, line: Some(report.line(line)) });
                continue;
            }
            found.places.insert(text, (index, at));
            found.in_order.push(text);
        }
        found
    }

    /// The index of a name.
    fn find(&self, name: &Text, report: &mut Report<'_>) -> Option<usize> {
        let text = name.get_ref().as_str();
        if let Some((index, _)) = self.places.get(text) {
            return Some(*index);
        }
        let nearest = nearest(text, self.in_order.iter().copied()).map(str::to_owned);
        let defined = self.in_order.iter().map(|name| (*name).to_owned()).collect();
        let name_ = quote(text);
        let kind = ProblemKind::UnknownReference { what: self.what, name: name_, nearest, defined };
        report.add(name.span().start, kind);
        None
    }
}

/// Names stand in URLs, metric labels and file names.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn check_control(
    raw: &RawControl,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> Control {
    let written = raw.listen.as_ref();
    let text = written.map_or(defaults::CONTROL_LISTEN, |text| text.get_ref().as_str());
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let listen = numeric.parse::<SocketAddr>().unwrap_or_else(|_| {
        let at = written.map_or(0, |text| text.span().start);
        report.add(at, ProblemKind::Address { key: "listen", value: quote(text) });
        SocketAddr::from(([127, 0, 0, 1], 0))
    });
    Control { listen, auth_key: check_secret("auth_key", raw.auth_key.as_ref(), env, report) }
}

fn check_secret(
    key: &'static str,
    text: Option<&Text>,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> Option<Secret> {
    let text = text?;
    let expanded = secret::expand(text.get_ref(), env);
    expanded.map_err(|error| report.add(text.span().start, ProblemKind::Secret { key, error })).ok()
}

fn check_limits(raw: &RawLimits, report: &mut Report<'_>) -> Limits {
    let memory = size("memory", raw.memory.as_ref(), &defaults::MEMORY, report);
    let queue = part("queue", raw.queue.as_ref(), &defaults::QUEUE, ("memory", memory), report);
    Limits {
        max_connections: connections(raw.max_connections.as_ref(), report),
        memory,
        record: size("record", raw.record.as_ref(), &defaults::RECORD, report),
        queue,
        shutdown: duration("shutdown", raw.shutdown.as_ref(), &defaults::SHUTDOWN, report),
        attempt: duration("attempt", raw.attempt.as_ref(), &defaults::ATTEMPT, report),
    }
}

fn check_data(text: Option<&Text>, report: &mut Report<'_>) -> PathBuf {
    match text {
        Some(text) => check_path("data", text, report),
        None => PathBuf::from(defaults::DATA),
    }
}

/// A path may be anything that the operating system can be given.
fn check_path(key: &'static str, text: &Text, report: &mut Report<'_>) -> PathBuf {
    if text.get_ref().is_empty() || text.get_ref().contains('\0') {
        report.add(text.span().start, ProblemKind::Path { key });
    }
    PathBuf::from(text.get_ref())
}

fn check_guest(raw: &RawGuest, report: &mut Report<'_>) -> Option<Guest> {
    let name = raw.name.as_ref();
    let component = match (&raw.standard, &raw.path) {
        (Some(text), None) => check_standard(text, report),
        (None, Some(text)) => Some(Component::Path(check_path("path", text, report))),
        (None, None) => None,
        (Some(_), Some(path)) => {
            let kind = ProblemKind::Both { first: "use", second: "path" };
            report.add(path.span().start, kind);
            None
        }
    };
    let (series, names) = (raw.series_max.as_ref(), raw.names_max.as_ref());
    let guest = Guest {
        name: name.map(|text| text.get_ref().clone()).unwrap_or_default(),
        component: component.clone().unwrap_or(Component::Standard(String::new())),
        config: raw.config.clone(),
        memory: size("memory", raw.memory.as_ref(), &defaults::GUEST_MEMORY, report),
        deadline: duration("deadline", raw.deadline.as_ref(), &defaults::GUEST_DEADLINE, report),
        on_fault: choice("on_fault", raw.on_fault.as_ref(), OnFault::Park, ON_FAULTS, report),
        series_max: count("series_max", series, &defaults::SERIES_MAX, report),
        names_max: count("names_max", names, &defaults::NAMES_MAX, report),
    };
    (name.is_some() && component.is_some()).then_some(guest)
}

fn check_standard(text: &Text, report: &mut Report<'_>) -> Option<Component> {
    let written = text.get_ref().as_str();
    let name = written.strip_prefix("std:");
    if let Some(name) = name.filter(|name| STANDARD_GUESTS.contains(name)) {
        return Some(Component::Standard(name.to_owned()));
    }
    let kind = if written.starts_with("oci:") {
        let supported = "use = \"std:…\" and path = \"…\"".to_owned();
        ProblemKind::NotYet { what: "use = \"oci:…\"".to_owned(), supported }
    } else {
        let close = nearest(name.unwrap_or(written), STANDARD_GUESTS.iter().copied());
        let allowed = STANDARD_GUESTS.iter().map(|name| format!("std:{name}")).collect();
        let nearest = close.map(|name| format!("std:{name}"));
        ProblemKind::UnknownValue { key: "use", value: quote(written), nearest, allowed }
    };
    report.add(text.span().start, kind);
    None
}

/// A source may pass through one pipeline at most: its records have one order.
fn check_sources<'a>(
    raw: &'a RawPipeline,
    names: &Names<'_>,
    taken: &mut HashMap<&'a str, usize>,
    report: &mut Report<'_>,
) -> Vec<usize> {
    let Some(texts) = &raw.sources else { return Vec::new() };
    if texts.get_ref().is_empty() {
        let allowed = "at least one source";
        report.add(texts.span().start, ProblemKind::Empty { key: "sources", allowed });
    }
    let mut indices = Vec::with_capacity(texts.get_ref().len());
    for text in texts.get_ref() {
        let Some(index) = names.find(text, report) else { continue };
        let at = text.span().start;
        if let Some(first) = taken.get(text.get_ref().as_str()) {
            let what = format!("source {} in a pipeline", quote(text.get_ref()));
            let line = Some(report.line(*first));
            report.add(at, ProblemKind::Duplicate { what, line });
            continue;
        }
        taken.insert(text.get_ref(), at);
        indices.push(index);
    }
    indices
}

/// Names as indices; each may be there once.
fn resolve(
    key: &'static str,
    texts: Option<&Texts>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Vec<usize> {
    let mut indices = Vec::new();
    let Some(texts) = texts else { return indices };
    let mut places: HashMap<usize, usize> = HashMap::new();
    for text in texts.get_ref() {
        let Some(index) = names.find(text, report) else { continue };
        let at = text.span().start;
        if let Some(first) = places.insert(index, at) {
            let what = format!("{} in these {key}", quote(text.get_ref()));
            let line = Some(report.line(first));
            report.add(at, ProblemKind::Duplicate { what, line });
        }
        indices.push(index);
    }
    indices
}

/// The range of a duration as the report writes it.
fn write_range(bounds: &defaults::Bounds<Duration>) -> (String, String) {
    (unit::write_duration(bounds.least), unit::write_duration(bounds.most))
}
