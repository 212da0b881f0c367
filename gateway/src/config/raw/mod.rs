//! The text as it stands: every table and key by name, with its place, and nothing checked but
//! that the keys exist, that those which must be there are, and that values are of their types.

mod fields;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{ProblemKind, Report, did_you_mean, nearest};
use fields::{Fields, Table};

/// One kind of table: its keys, sorted.
pub(super) struct Shape {
    /// As a message calls it; empty for the top of the file.
    pub(super) place: &'static str,
    /// All keys that can be used.
    pub(super) keys: &'static [&'static str],
    /// Those that will be.
    planned: &'static [&'static str],
}

const TOP: Shape = Shape {
    place: "",
    keys: &[
        "control", "data", "drain", "guest", "limits", "network", "parked", "pipeline", "route",
        "source", "spool",
    ],
    planned: &["store"],
};
const CONTROL: Shape = Shape { place: "[control]", keys: &["auth_key", "listen"], planned: &[] };
const LIMITS: Shape = Shape {
    place: "[limits]",
    keys: &["attempt", "max_connections", "memory", "queue", "record", "shutdown"],
    planned: &[],
};
const SPOOL: Shape = Shape {
    place: "[spool]",
    keys: &["durability", "enabled", "max", "path", "segment", "share"],
    planned: &[],
};
const PARKED: Shape = Shape { place: "[parked]", keys: &["age", "max"], planned: &[] };
const NETWORK: Shape =
    Shape { place: "[network]", keys: &["allow", "deny", "guard", "nameservers"], planned: &[] };
const SOURCE: Shape = Shape {
    place: "[[source]]",
    keys: &[
        "answer_timeout",
        "app",
        "app_attributes",
        "cert",
        "client_auth",
        "client_ca",
        "compression",
        "format",
        "frame_timeout",
        "framing",
        "handshake_timeout",
        "idle",
        "key",
        "line",
        "max_body",
        "max_requests",
        "max_sessions",
        "max_sessions_per_peer",
        "message_bytes_max",
        "mode",
        "name",
        "oversize",
        "password",
        "peer_fields",
        "proxy_protocol",
        "receive_buffer",
        "sockets",
        "strict",
        "token",
        "tokens",
        "url",
        "user",
        "window",
    ],
    planned: &[],
};
const GUEST: Shape = Shape {
    place: "[[guest]]",
    keys: &[
        "config",
        "deadline",
        "memory",
        "name",
        "names_max",
        "on_fault",
        "path",
        "series_max",
        "use",
    ],
    planned: &[],
};
const PIPELINE: Shape = Shape {
    place: "[[pipeline]]",
    keys: &["durability", "guests", "routes", "sources"],
    planned: &[],
};
const ROUTE: Shape = Shape {
    place: "[[route]]",
    keys: &["ca", "cert", "key", "max_connections", "name", "server_name", "url", "when_full"],
    planned: &[],
};
const DRAIN: Shape = Shape {
    place: "[[drain]]",
    keys: &["app", "ca", "cert", "key", "max_connections", "server_name", "url", "when_full"],
    planned: &[],
};

/// All tables, in the order of the documentation.
pub(super) const SHAPES: [&Shape; 11] = [
    &TOP, &CONTROL, &LIMITS, &SPOOL, &PARKED, &NETWORK, &SOURCE, &GUEST, &PIPELINE, &ROUTE, &DRAIN,
];

/// What a list of networks looks like.
const NETWORKS: &str = "a list of networks, as in [\"10.0.0.0/8\"]";

/// A string and its place in the text.
pub(super) type Text = Spanned<String>;
/// A list of strings, and the place of each.
pub(super) type Texts = Spanned<Vec<Text>>;
/// An integer and its place.
pub(super) type Integer = Spanned<i64>;
/// True or false, and its place.
pub(super) type Flag = Spanned<bool>;

/// The whole file.
pub(super) struct Raw {
    pub(super) control: RawControl,
    pub(super) limits: RawLimits,
    pub(super) spool: RawSpool,
    pub(super) parked: RawParked,
    pub(super) network: RawNetwork,
    pub(super) data: Option<Text>,
    pub(super) sources: Vec<RawSource>,
    pub(super) guests: Vec<RawGuest>,
    pub(super) pipelines: Vec<RawPipeline>,
    pub(super) routes: Vec<RawRoute>,
    pub(super) drains: Vec<RawDrain>,
}

/// `[control]`
#[derive(Default)]
pub(super) struct RawControl {
    pub(super) listen: Option<Text>,
    pub(super) auth_key: Option<Text>,
}

/// `[limits]`
#[derive(Default)]
pub(super) struct RawLimits {
    pub(super) max_connections: Option<Integer>,
    pub(super) memory: Option<Text>,
    pub(super) record: Option<Text>,
    pub(super) queue: Option<Text>,
    pub(super) shutdown: Option<Text>,
    pub(super) attempt: Option<Text>,
}

/// `[spool]`
#[derive(Default)]
pub(super) struct RawSpool {
    pub(super) enabled: Option<Flag>,
    pub(super) path: Option<Text>,
    pub(super) max: Option<Text>,
    pub(super) share: Option<Text>,
    pub(super) segment: Option<Text>,
    pub(super) durability: Option<Text>,
}

/// `[parked]`
#[derive(Default)]
pub(super) struct RawParked {
    pub(super) max: Option<Text>,
    pub(super) age: Option<Text>,
}

/// `[network]`
#[derive(Default)]
pub(super) struct RawNetwork {
    pub(super) allow: Option<Texts>,
    pub(super) deny: Option<Texts>,
    pub(super) guard: Option<Text>,
    pub(super) nameservers: Option<Texts>,
}

/// `[[source]]`
pub(super) struct RawSource {
    /// Where the table begins.
    pub(super) at: usize,
    pub(super) name: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) app: Option<Text>,
    pub(super) framing: Option<Text>,
    pub(super) compression: Option<Text>,
    pub(super) format: Option<Text>,
    pub(super) strict: Option<Flag>,
    pub(super) oversize: Option<Text>,
    pub(super) max_sessions: Option<Integer>,
    pub(super) max_sessions_per_peer: Option<Integer>,
    pub(super) handshake_timeout: Option<Text>,
    pub(super) proxy_protocol: Option<Texts>,
    pub(super) peer_fields: Option<Flag>,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
    pub(super) client_ca: Option<Text>,
    pub(super) client_auth: Option<Text>,
    pub(super) idle: Option<Text>,
    pub(super) frame_timeout: Option<Text>,
    pub(super) receive_buffer: Option<Text>,
    pub(super) sockets: Option<Integer>,
    pub(super) mode: Option<Text>,
    pub(super) window: Option<Integer>,
    pub(super) token: Option<Text>,
    pub(super) user: Option<Text>,
    pub(super) password: Option<Text>,
    /// Names with their secrets.
    pub(super) tokens: Vec<(Text, Text)>,
    pub(super) max_body: Option<Text>,
    pub(super) max_requests: Option<Integer>,
    pub(super) answer_timeout: Option<Text>,
    pub(super) app_attributes: Option<Texts>,
    pub(super) message_bytes_max: Option<Text>,
    pub(super) line: Option<Text>,
}

/// `[[guest]]`
pub(super) struct RawGuest {
    pub(super) name: Option<Text>,
    pub(super) standard: Option<Text>,
    pub(super) path: Option<Text>,
    /// JSON text, or the string as it was written.
    pub(super) config: String,
    pub(super) memory: Option<Text>,
    pub(super) deadline: Option<Text>,
    pub(super) on_fault: Option<Text>,
    pub(super) series_max: Option<Integer>,
    pub(super) names_max: Option<Integer>,
}

/// `[[pipeline]]`
pub(super) struct RawPipeline {
    pub(super) sources: Option<Texts>,
    pub(super) guests: Option<Texts>,
    pub(super) routes: Option<Texts>,
    pub(super) durability: Option<Text>,
}

/// `[[route]]`
pub(super) struct RawRoute {
    pub(super) name: Option<Text>,
    pub(super) order: RawOrder,
}

/// `[[drain]]`
pub(super) struct RawDrain {
    /// Where the table begins.
    pub(super) at: usize,
    pub(super) app: Option<Text>,
    pub(super) order: RawOrder,
}

/// What `[[route]]` and `[[drain]]` share.
pub(super) struct RawOrder {
    pub(super) url: Option<Text>,
    pub(super) when_full: Option<Text>,
    pub(super) max_connections: Option<Integer>,
    pub(super) ca: Option<Text>,
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
    pub(super) server_name: Option<Text>,
}

impl Raw {
    /// Reads the text. What cannot be read is reported, and left out.
    pub(super) fn read(text: &str, report: &mut Report<'_>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let offset = error.span().map_or(text.len(), |span| span.start);
            report.add(offset, ProblemKind::Syntax(error.message().to_owned()));
        }
        let mut top = Fields::open(&document, &TOP, report);
        Self {
            control: top.table("control", RawControl::read),
            limits: top.table("limits", RawLimits::read),
            spool: top.table("spool", RawSpool::read),
            parked: top.table("parked", RawParked::read),
            network: top.table("network", RawNetwork::read),
            data: top.text("data"),
            sources: top.tables("source", RawSource::read),
            guests: top.tables("guest", RawGuest::read),
            pipelines: top.tables("pipeline", RawPipeline::read),
            routes: top.tables("route", RawRoute::read),
            drains: top.tables("drain", RawDrain::read),
        }
    }
}

impl RawControl {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &CONTROL, report);
        Self { listen: fields.text("listen"), auth_key: fields.secret("auth_key") }
    }
}

impl RawLimits {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &LIMITS, report);
        Self {
            max_connections: fields.integer("max_connections"),
            memory: fields.size("memory"),
            record: fields.size("record"),
            queue: fields.size("queue"),
            shutdown: fields.duration("shutdown"),
            attempt: fields.duration("attempt"),
        }
    }
}

impl RawSpool {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &SPOOL, report);
        Self {
            enabled: fields.boolean("enabled"),
            path: fields.text("path"),
            max: fields.size("max"),
            share: fields.size("share"),
            segment: fields.size("segment"),
            durability: fields.text("durability"),
        }
    }
}

impl RawParked {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &PARKED, report);
        Self { max: fields.size("max"), age: fields.duration("age") }
    }
}

impl RawNetwork {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &NETWORK, report);
        Self {
            allow: fields.texts("allow", NETWORKS),
            deny: fields.texts("deny", NETWORKS),
            guard: fields.text("guard"),
            nameservers: fields
                .texts("nameservers", "a list of addresses, as in [\"10.0.0.53:53\"]"),
        }
    }
}

impl RawSource {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &SOURCE, report);
        Self {
            at: table.span().start,
            name: fields.require(&["name"], "name = \"edge\"").text("name"),
            url: fields.require(&["url"], "url = \"syslog+tcp://127.0.0.1:5514\"").text("url"),
            app: fields.text("app"),
            framing: fields.text("framing"),
            compression: fields.text("compression"),
            format: fields.text("format"),
            strict: fields.boolean("strict"),
            oversize: fields.text("oversize"),
            max_sessions: fields.integer("max_sessions"),
            max_sessions_per_peer: fields.integer("max_sessions_per_peer"),
            handshake_timeout: fields.duration("handshake_timeout"),
            proxy_protocol: fields.texts("proxy_protocol", NETWORKS),
            peer_fields: fields.boolean("peer_fields"),
            cert: fields.text("cert"),
            key: fields.text("key"),
            client_ca: fields.text("client_ca"),
            client_auth: fields.text("client_auth"),
            idle: fields.duration("idle"),
            frame_timeout: fields.duration("frame_timeout"),
            receive_buffer: fields.size("receive_buffer"),
            sockets: fields.integer("sockets"),
            mode: fields.text("mode"),
            window: fields.integer("window"),
            token: fields.secret("token"),
            user: fields.text("user"),
            password: fields.secret("password"),
            tokens: fields.secrets("tokens"),
            max_body: fields.size("max_body"),
            max_requests: fields.integer("max_requests"),
            answer_timeout: fields.duration("answer_timeout"),
            app_attributes: fields.names("app_attributes"),
            message_bytes_max: fields.size("message_bytes_max"),
            line: fields.text("line"),
        }
    }
}

impl RawGuest {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &GUEST, report);
        Self {
            name: fields.require(&["name"], "name = \"access\"").text("name"),
            standard: fields
                .require(&["use", "path"], "use = \"std:access\", or path = \"mine.wasm\"")
                .text("use"),
            path: fields.text("path"),
            config: fields.guest_config("config"),
            memory: fields.size("memory"),
            deadline: fields.duration("deadline"),
            on_fault: fields.text("on_fault"),
            series_max: fields.integer("series_max"),
            names_max: fields.integer("names_max"),
        }
    }
}

impl RawPipeline {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &PIPELINE, report);
        Self {
            sources: fields.require(&["sources"], "sources = [\"udp\", \"tcp\"]").names("sources"),
            guests: fields.names("guests"),
            routes: fields.names("routes"),
            durability: fields.text("durability"),
        }
    }
}

impl RawRoute {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &ROUTE, report);
        Self {
            name: fields.require(&["name"], "name = \"archive\"").text("name"),
            order: RawOrder::read(&mut fields, "url = \"file:///var/log/all.log\""),
        }
    }
}

impl RawDrain {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &DRAIN, report);
        Self {
            at: table.span().start,
            app: fields.require(&["app"], "app = \"web-shop\"").text("app"),
            order: RawOrder::read(&mut fields, "url = \"syslog+tcp://logs.example.com:514\""),
        }
    }
}

impl RawOrder {
    fn read(fields: &mut Fields<'_, '_, '_, '_>, example: &'static str) -> Self {
        Self {
            url: fields.require(&["url"], example).secret("url"),
            when_full: fields.text("when_full"),
            max_connections: fields.integer("max_connections"),
            ca: fields.text("ca"),
            cert: fields.text("cert"),
            key: fields.text("key"),
            server_name: fields.text("server_name"),
        }
    }
}

impl Shape {
    /// Why a key is not of this shape, and where it was meant to be.
    fn refuse(&self, name: &str, value: &DeValue<'_>) -> ProblemKind {
        let is_top = self.place.is_empty();
        let what = if is_top && is_table(value) { "table" } else { "key" };
        if self.planned.contains(&name) {
            let what = if is_top { format!("[{name}]") } else { format!("key {name:?}") };
            return ProblemKind::NotYet { what, supported: self.allowed().join(", ") };
        }
        let close = nearest(name, self.keys.iter().copied());
        let home = || SHAPES.iter().find(|shape| shape.keys.contains(&name));
        let hint = match close.map(|close| self.write(close)) {
            Some(close) if close.starts_with('[') => format!("; did you mean {close}? "),
            Some(close) => did_you_mean(Some(&close)),
            None => match home().map(|shape| shape.place) {
                Some("") => "; it belongs at the top of the file; ".to_owned(),
                Some(place) => format!("; it belongs in {place}; "),
                None => did_you_mean(None),
            },
        };
        let key = name.chars().take(60).collect();
        ProblemKind::UnknownKey { what, key, place: self.place, hint, allowed: self.allowed() }
    }

    fn allowed(&self) -> Vec<String> {
        self.keys.iter().map(|key| self.write(key)).collect()
    }

    /// A key as it must be written: tables of the top with their brackets.
    fn write(&self, key: &str) -> String {
        let mut shapes = SHAPES.iter().filter(|_| self.place.is_empty());
        let shape = shapes.find(|shape| shape.place.trim_matches(['[', ']']) == key);
        shape.map_or(key, |shape| shape.place).to_owned()
    }
}

fn is_table(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => items.iter().all(|item| item.get_ref().is_table()),
        _ => false,
    }
}
