//! The entrances, and what they may not do to each other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::defaults;
use super::super::raw::{Raw, RawSource, Text};
use super::super::report::{ProblemKind, Report};
use super::super::{AppTemplate, Control, Format, Framing, Oversize, Source, SourceUrl};
use super::value::{choice, count, duration, size};

/// Indices of sources cross to other rooms in 16 bits.
const SOURCES_MAX: usize = u16::MAX as usize;

/// Stands in for a URL that could not be read.
const NO_URL: SourceUrl = SourceUrl::SyslogTcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));

const FRAMINGS: &[(&str, Framing)] = &[
    ("auto", Framing::Auto),
    ("octet", Framing::Octet),
    ("lf", Framing::Lf),
    ("nul", Framing::Nul),
];
const FORMATS: &[(&str, Format)] =
    &[("auto", Format::Auto), ("rfc5424", Format::Rfc5424), ("rfc3164", Format::Rfc3164)];
const OVERSIZES: &[(&str, Oversize)] =
    &[("truncate", Oversize::Truncate), ("reject", Oversize::Reject)];
/// Checks one source; `None` if it has no name or no URL.
pub(super) fn check(raw: &RawSource, report: &mut Report<'_>) -> Option<Source> {
    let name = raw.name.as_ref();
    let url = raw.url.as_ref().and_then(|text| {
        let parsed = SourceUrl::parse(text.get_ref());
        let refuse = |error| report.add(text.span().start, ProblemKind::Url { key: "url", error });
        parsed.map_err(refuse).ok()
    });
    if let Some(url) = url {
        check_pointless(raw, url, report);
    }
    let app = raw.app.as_ref().map_or_else(AppTemplate::app_name, |text| {
        AppTemplate::parse(text.get_ref()).unwrap_or_else(|error| {
            report.add(text.span().start, ProblemKind::Template(error));
            AppTemplate::app_name()
        })
    });
    let receive = raw.receive_buffer.as_ref();
    let timeout = raw.frame_timeout.as_ref();
    let sessions = raw.max_sessions.as_ref();
    let source = Source {
        name: name.map(|text| text.get_ref().clone()).unwrap_or_default(),
        url: url.unwrap_or(NO_URL),
        app,
        framing: choice("framing", raw.framing.as_ref(), Framing::Auto, FRAMINGS, report),
        format: choice("format", raw.format.as_ref(), Format::Auto, FORMATS, report),
        strict: raw.strict.as_ref().is_some_and(|strict| *strict.get_ref()),
        oversize: choice("oversize", raw.oversize.as_ref(), Oversize::Truncate, OVERSIZES, report),
        max_sessions: count("max_sessions", sessions, &defaults::MAX_SESSIONS, report),
        idle: duration("idle", raw.idle.as_ref(), &defaults::IDLE, report),
        frame_timeout: duration("frame_timeout", timeout, &defaults::FRAME_TIMEOUT, report),
        receive_buffer: size("receive_buffer", receive, &defaults::RECEIVE_BUFFER, report),
        window: count("window", raw.window.as_ref(), &defaults::WINDOW, report),
    };
    (name.is_some() && url.is_some()).then_some(source)
}

/// A key that does nothing is a misunderstanding: better told than kept.
fn check_pointless(raw: &RawSource, url: SourceUrl, report: &mut Report<'_>) {
    let scheme = url.scheme();
    let mut refuse = |key, at: Option<usize>, reason| {
        if let Some(at) = at {
            report.add(at, ProblemKind::Pointless { key, scheme, side: "source", reason });
        }
    };
    let at = |text: &Option<Text>| text.as_ref().map(|text| text.span().start);
    let stream = "a stream waits at its sender";
    let window = raw.window.as_ref().map(|number| number.span().start);
    match url {
        SourceUrl::SyslogUdp(_) => {
            let sessions = "datagrams have no sessions";
            refuse("framing", at(&raw.framing), "each datagram is one frame");
            refuse("frame_timeout", at(&raw.frame_timeout), "each datagram is one frame");
            refuse("idle", at(&raw.idle), sessions);
            let max_sessions = raw.max_sessions.as_ref().map(|number| number.span().start);
            refuse("max_sessions", max_sessions, sessions);
            refuse("window", window, "records are not answered");
        }
        SourceUrl::SyslogTcp(_) => {
            refuse("receive_buffer", at(&raw.receive_buffer), stream);
            refuse("window", window, "records are not answered");
        }
        SourceUrl::Relp(_) => {
            refuse("framing", at(&raw.framing), "RELP has its own");
            refuse("receive_buffer", at(&raw.receive_buffer), stream);
        }
    }
}

/// No two listeners may want the same address.
pub(super) fn check_listeners(
    sources: &[Option<Source>],
    raw: &Raw,
    control: &Control,
    report: &mut Report<'_>,
) {
    if sources.len() > SOURCES_MAX {
        let at = raw.sources.get(SOURCES_MAX).map_or(0, |source| source.at);
        let (what, count) = ("sources", sources.len());
        report.add(at, ProblemKind::TooMany { what, count, most: SOURCES_MAX });
    }
    // By transport and address.
    let mut taken: HashMap<(bool, SocketAddr), Option<usize>> = HashMap::new();
    let own = (true, control.listen);
    if control.listen.port() != 0 {
        let at = raw.control.listen.as_ref().map(|text| text.span().start);
        taken.insert(own, at);
    }
    for (source, raw) in sources.iter().zip(&raw.sources) {
        let (Some(source), Some(text)) = (source, &raw.url) else { continue };
        let at = text.span().start;
        let listener = (source.url.is_stream(), source.url.address());
        if listener.1.port() == 0 {
            continue;
        }
        match taken.get(&listener) {
            None => {
                taken.insert(listener, Some(at));
            }
            Some(first) => {
                let line = first.map(|first| report.line(first));
                let owner = if listener == own { ", that of [control]," } else { "" };
                let what = format!("address {}{owner}", listener.1);
                report.add(at, ProblemKind::Duplicate { what, line });
            }
        }
    }
}
