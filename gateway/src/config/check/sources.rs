//! The entrances, and what they may not do to each other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::super::defaults;
use super::super::raw::{Integer, Raw, RawSource, Text, Texts};
use super::super::report::{ProblemKind, Report, quote};
use super::super::{
    AccessLine, AppTemplate, Clients, Compression, Control, Format, Framing, Oversize, Place,
    Source, SourceGrpc, SourceTls, SourceUrl,
};
use super::http;
use super::network::networks;
use super::orders::pem_path;
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
const COMPRESSIONS: &[(&str, Compression)] =
    &[("auto", Compression::Auto), ("none", Compression::None)];
const FORMATS: &[(&str, Format)] =
    &[("auto", Format::Auto), ("rfc5424", Format::Rfc5424), ("rfc3164", Format::Rfc3164)];
const OVERSIZES: &[(&str, Oversize)] =
    &[("truncate", Oversize::Truncate), ("reject", Oversize::Reject)];
const LINES: &[(&str, AccessLine)] =
    &[("envoy", AccessLine::Envoy), ("logshuttle", AccessLine::Logshuttle)];
/// Whether a peer without a certificate is kept out.
const CLIENT_AUTHS: &[(&str, bool)] = &[("required", true), ("optional", false)];

/// Checks one source; `None` if it has no name or no URL.
pub(super) fn check(
    raw: &RawSource,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report<'_>,
) -> Option<Source> {
    let name = raw.name.as_ref();
    let url = raw.url.as_ref().and_then(|text| {
        let parsed = SourceUrl::parse(text.get_ref());
        let refuse = |error| report.add(text.span().start, ProblemKind::Url { key: "url", error });
        parsed.map_err(refuse).ok()
    });
    if let Some(url) = &url {
        check_pointless(raw, url, report);
    }
    let tls = url.as_ref().filter(|url| url.is_tls()).and_then(|url| check_tls(raw, url, report));
    let is_grpc = url.as_ref().is_some_and(SourceUrl::is_grpc);
    let has_requests = is_grpc || url.as_ref().is_some_and(SourceUrl::is_http);
    let http = has_requests.then(|| http::check(raw, is_grpc, env, report));
    let grpc = is_grpc.then(|| {
        let line = choice("line", raw.line.as_ref(), AccessLine::Envoy, LINES, report);
        SourceGrpc { line }
    });
    let app = raw.app.as_ref().map_or_else(AppTemplate::app_name, |text| {
        AppTemplate::parse(text.get_ref()).unwrap_or_else(|error| {
            report.add(text.span().start, ProblemKind::Template(error));
            AppTemplate::app_name()
        })
    });
    let receive = raw.receive_buffer.as_ref();
    let timeout = raw.frame_timeout.as_ref();
    let sessions = raw.max_sessions.as_ref();
    let per_peer = (raw.max_sessions_per_peer.as_ref(), &defaults::MAX_SESSIONS_PER_PEER);
    let handshake = (raw.handshake_timeout.as_ref(), &defaults::HANDSHAKE_TIMEOUT);
    let compression = raw.compression.as_ref();
    let source = Source {
        name: name.map(|text| text.get_ref().clone()).unwrap_or_default(),
        url: url.clone().unwrap_or(NO_URL),
        app,
        framing: choice("framing", raw.framing.as_ref(), Framing::Auto, FRAMINGS, report),
        compression: choice("compression", compression, Compression::Auto, COMPRESSIONS, report),
        format: choice("format", raw.format.as_ref(), Format::Auto, FORMATS, report),
        strict: raw.strict.as_ref().is_some_and(|strict| *strict.get_ref()),
        oversize: choice("oversize", raw.oversize.as_ref(), Oversize::Truncate, OVERSIZES, report),
        max_sessions: count("max_sessions", sessions, &defaults::MAX_SESSIONS, report),
        max_sessions_per_peer: count("max_sessions_per_peer", per_peer.0, per_peer.1, report),
        handshake_timeout: duration("handshake_timeout", handshake.0, handshake.1, report),
        proxy_protocol: networks("proxy_protocol", raw.proxy_protocol.as_ref(), report),
        peer_fields: raw.peer_fields.as_ref().is_some_and(|flag| *flag.get_ref()),
        tls,
        idle: duration("idle", raw.idle.as_ref(), &defaults::IDLE, report),
        frame_timeout: duration("frame_timeout", timeout, &defaults::FRAME_TIMEOUT, report),
        receive_buffer: size("receive_buffer", receive, &defaults::RECEIVE_BUFFER, report),
        sockets: count("sockets", raw.sockets.as_ref(), &defaults::sockets(), report),
        mode: raw.mode.as_ref().map_or(defaults::MODE, |text| mode(text, report)),
        window: count("window", raw.window.as_ref(), &defaults::WINDOW, report),
        http,
        grpc,
    };
    (name.is_some() && url.is_some()).then_some(source)
}

/// Permissions in octal digits.
fn mode(text: &Text, report: &mut Report<'_>) -> u32 {
    let written = text.get_ref().as_str();
    let is_octal = (3..=4).contains(&written.len()) && written.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(written, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.unwrap_or_else(|| {
        report.add(text.span().start, ProblemKind::Mode { value: quote(written) });
        defaults::MODE
    })
}

/// The files of a source with TLS; `None` if one is missing, which was reported.
fn check_tls(raw: &RawSource, url: &SourceUrl, report: &mut Report<'_>) -> Option<SourceTls> {
    for (key, text, example) in
        [("cert", &raw.cert, "cert = \"gateway.pem\""), ("key", &raw.key, "key = \"gateway.key\"")]
    {
        if text.is_none() {
            let place = "[[source]] with TLS";
            report.add(raw.at, ProblemKind::Missing { place, key, example });
        }
    }
    let is_required = choice("client_auth", raw.client_auth.as_ref(), true, CLIENT_AUTHS, report);
    if let (Some(text), None) = (&raw.client_auth, &raw.client_ca) {
        let reason = "without client_ca no client is asked for a certificate";
        let (key, side) = ("client_auth", "source");
        let kind = ProblemKind::Pointless { key, scheme: url.scheme(), side, reason };
        report.add(text.span().start, kind);
    }
    let clients = match pem_path("client_ca", raw.client_ca.as_ref(), report) {
        None => Clients::All,
        Some(ca) if is_required => Clients::Required(ca),
        Some(ca) => Clients::Optional(ca),
    };
    let mut path =
        |key, text: &Option<Text>| -> Option<PathBuf> { pem_path(key, text.as_ref(), report) };
    let (cert, key) = (path("cert", &raw.cert), path("key", &raw.key));
    Some(SourceTls { cert: cert?, key: key?, clients })
}

/// What a key is of use for, and what is said of it elsewhere.
type Use = (&'static str, Option<usize>, bool, &'static str);

/// A key that does nothing is a misunderstanding: better told than kept.
fn check_pointless(raw: &RawSource, url: &SourceUrl, report: &mut Report<'_>) {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.span().start);
    let number = |number: &Option<Integer>| number.as_ref().map(|number| number.span().start);
    let texts = |texts: &Option<Texts>| texts.as_ref().map(|texts| texts.span().start);
    let is_datagrams = matches!(url, SourceUrl::SyslogUdp(_) | SourceUrl::SyslogUnixgram(_));
    let is_relp = matches!(url, SourceUrl::Relp(_) | SourceUrl::Relps(_));
    let is_stream =
        matches!(url, SourceUrl::SyslogTcp(_) | SourceUrl::SyslogTls(_) | SourceUrl::SyslogUnix(_));
    let is_syslog = is_stream || is_datagrams;
    let (is_udp, is_tls) = (matches!(url, SourceUrl::SyslogUdp(_)), url.is_tls());
    let is_tcp = matches!(url.place(), Place::Tcp(_));
    let is_unix = matches!(url.place(), Place::Path(_));
    let has_handshake = is_tcp || matches!(url, SourceUrl::Quic(_));
    let own_framing = match url {
        _ if is_datagrams => "each datagram is one frame",
        SourceUrl::Relp(_) | SourceUrl::Relps(_) => "RELP has its own",
        _ => "it has its own",
    };
    let (sessions, no_tls) = ("datagrams have no sessions", "it has no TLS");
    let no_handshake = "it has no handshake";
    let stream = "a stream waits at its sender";
    let (is_http, is_grpc) = (url.is_http(), url.is_grpc());
    let is_asked = is_http || is_grpc;
    let (no_http, no_grpc) = ("it is no HTTP", "it is no gRPC");
    let no_requests = "it has no requests";
    let tokens = raw.tokens.first().map(|(name, _)| name.span().start);
    let strict = raw.strict.as_ref().map(|strict| strict.span().start);
    let no_syslog = "its records are no syslog";
    let uses: [Use; 29] = [
        ("format", text(&raw.format), !is_grpc, no_syslog),
        ("strict", strict, !is_grpc, no_syslog),
        ("oversize", text(&raw.oversize), !is_relp, "a record beyond the limit ends its session"),
        ("framing", text(&raw.framing), is_stream, own_framing),
        ("compression", text(&raw.compression), is_syslog, "only syslog is compressed that way"),
        ("frame_timeout", text(&raw.frame_timeout), !is_datagrams, "each datagram is one frame"),
        ("idle", text(&raw.idle), !is_datagrams, sessions),
        ("max_sessions", number(&raw.max_sessions), !is_datagrams, sessions),
        (
            "max_sessions_per_peer",
            number(&raw.max_sessions_per_peer),
            has_handshake,
            if is_datagrams { sessions } else { "its peers have no addresses" },
        ),
        ("handshake_timeout", text(&raw.handshake_timeout), has_handshake, no_handshake),
        ("proxy_protocol", texts(&raw.proxy_protocol), is_tcp, "proxies speak it over TCP"),
        ("receive_buffer", text(&raw.receive_buffer), is_udp, stream),
        ("sockets", number(&raw.sockets), is_udp, "one socket takes all"),
        ("mode", text(&raw.mode), is_unix, "it is not in the file system"),
        ("window", number(&raw.window), is_relp, "records are not answered"),
        ("cert", text(&raw.cert), is_tls, no_tls),
        ("key", text(&raw.key), is_tls, no_tls),
        ("client_ca", text(&raw.client_ca), is_tls, no_tls),
        ("client_auth", text(&raw.client_auth), is_tls, no_tls),
        ("token", text(&raw.token), is_asked, no_requests),
        ("user", text(&raw.user), is_asked, no_requests),
        ("password", text(&raw.password), is_asked, no_requests),
        ("tokens", tokens, is_asked, no_requests),
        ("max_body", text(&raw.max_body), is_http, no_http),
        ("max_requests", number(&raw.max_requests), is_asked, no_requests),
        ("answer_timeout", text(&raw.answer_timeout), is_asked, no_requests),
        ("app_attributes", texts(&raw.app_attributes), is_asked, no_requests),
        ("message_bytes_max", text(&raw.message_bytes_max), is_grpc, no_grpc),
        ("line", text(&raw.line), is_grpc, no_grpc),
    ];
    let scheme = url.scheme();
    for (key, at, is_of_use, reason) in uses {
        if let Some(at) = at.filter(|_| !is_of_use) {
            report.add(at, ProblemKind::Pointless { key, scheme, side: "source", reason });
        }
    }
}

/// A place that something listens on already, and where that is written, if it is.
type Taken = (Place, Option<usize>);

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
    let own = Place::Tcp(control.listen);
    // By port; those without one are together.
    let mut taken: HashMap<Option<u16>, Vec<Taken>> = HashMap::new();
    if control.listen.port() != 0 {
        let at = raw.control.listen.as_ref().map(|text| text.span().start);
        taken.insert(Some(control.listen.port()), vec![(own.clone(), at)]);
    }
    for (source, raw) in sources.iter().zip(&raw.sources) {
        let (Some(source), Some(text)) = (source, &raw.url) else { continue };
        let at = text.span().start;
        let listener = source.url.place();
        let port = listener.address().map(|address| address.port());
        if port == Some(0) {
            continue;
        }
        let others = taken.entry(port).or_default();
        let Some((first, at_first)) = others.iter().find(|(first, _)| first.excludes(&listener))
        else {
            others.push((listener, Some(at)));
            continue;
        };
        let line = at_first.map(|first| report.line(first));
        let owner = if *first == own { ", that of [control]," } else { "" };
        let kind = if port.is_some() { "address" } else { "path" };
        let overlap =
            if *first == listener { String::new() } else { format!(", which overlaps {first},") };
        let what = format!("{kind} {listener}{overlap}{owner}");
        report.add(at, ProblemKind::Duplicate { what, line });
    }
}
