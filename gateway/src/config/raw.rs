//! The text as it stands: every table and key by name, with its place, and nothing checked but
//! that the keys exist, that those which must be there are, and that values are of their types.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::json;
use super::report::{ProblemKind, Report, did_you_mean, nearest};

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
    keys: &["control", "data", "drain", "guest", "limits", "pipeline", "route", "source"],
    planned: &["network", "spool", "store"],
};
const CONTROL: Shape = Shape { place: "[control]", keys: &["auth_key", "listen"], planned: &[] };
const LIMITS: Shape = Shape {
    place: "[limits]",
    keys: &["max_connections", "memory", "queue", "record", "shutdown"],
    planned: &[],
};
const SOURCE: Shape = Shape {
    place: "[[source]]",
    keys: &[
        "app",
        "format",
        "frame_timeout",
        "framing",
        "idle",
        "max_sessions",
        "name",
        "oversize",
        "receive_buffer",
        "strict",
        "url",
    ],
    planned: &["cert", "client_ca", "key"],
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
    keys: &["guests", "routes", "sources"],
    planned: &["durability"],
};
const ROUTE: Shape =
    Shape { place: "[[route]]", keys: &["name", "url", "when_full"], planned: &[] };
const DRAIN: Shape = Shape { place: "[[drain]]", keys: &["app", "url", "when_full"], planned: &[] };

/// All tables, in the order of the documentation.
pub(super) const SHAPES: [&Shape; 8] =
    [&TOP, &CONTROL, &LIMITS, &SOURCE, &GUEST, &PIPELINE, &ROUTE, &DRAIN];

/// A string and its place in the text.
pub(super) type Text = Spanned<String>;
/// A list of strings, and the place of each.
pub(super) type Texts = Spanned<Vec<Text>>;
/// An integer and its place.
pub(super) type Integer = Spanned<i64>;

/// The whole file.
pub(super) struct Raw {
    pub(super) control: RawControl,
    pub(super) limits: RawLimits,
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
}

/// `[[source]]`
pub(super) struct RawSource {
    /// Where the table begins.
    pub(super) at: usize,
    pub(super) name: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) app: Option<Text>,
    pub(super) framing: Option<Text>,
    pub(super) format: Option<Text>,
    pub(super) strict: Option<bool>,
    pub(super) oversize: Option<Text>,
    pub(super) max_sessions: Option<Integer>,
    pub(super) idle: Option<Text>,
    pub(super) frame_timeout: Option<Text>,
    pub(super) receive_buffer: Option<Text>,
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
}

/// `[[route]]`
pub(super) struct RawRoute {
    pub(super) name: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) when_full: Option<Text>,
}

/// `[[drain]]`
pub(super) struct RawDrain {
    /// Where the table begins.
    pub(super) at: usize,
    pub(super) app: Option<Text>,
    pub(super) url: Option<Text>,
    pub(super) when_full: Option<Text>,
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
            format: fields.text("format"),
            strict: fields.boolean("strict"),
            oversize: fields.text("oversize"),
            max_sessions: fields.integer("max_sessions"),
            idle: fields.duration("idle"),
            frame_timeout: fields.duration("frame_timeout"),
            receive_buffer: fields.size("receive_buffer"),
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
            sources: fields.require(&["sources"], "sources = [\"udp\", \"tcp\"]").texts("sources"),
            guests: fields.texts("guests"),
            routes: fields.texts("routes"),
        }
    }
}

impl RawRoute {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &ROUTE, report);
        Self {
            name: fields.require(&["name"], "name = \"archive\"").text("name"),
            url: fields.require(&["url"], "url = \"file:///var/log/all.log\"").text("url"),
            when_full: fields.text("when_full"),
        }
    }
}

impl RawDrain {
    fn read(table: &Table<'_>, report: &mut Report<'_>) -> Self {
        let mut fields = Fields::open(table, &DRAIN, report);
        Self {
            at: table.span().start,
            app: fields.require(&["app"], "app = \"web-shop\"").text("app"),
            url: fields
                .require(&["url"], "url = \"syslog+tcp://logs.example.com:514\"")
                .text("url"),
            when_full: fields.text("when_full"),
        }
    }
}

/// A table and its place.
type Table<'i> = Spanned<DeTable<'i>>;

/// The keys of one table, taken one after the other.
struct Fields<'a, 'i, 'r, 't> {
    at: usize,
    shape: &'static Shape,
    table: &'a DeTable<'i>,
    report: &'r mut Report<'t>,
}

impl<'a, 'i, 'r, 't> Fields<'a, 'i, 'r, 't> {
    /// Refuses what is not of the shape; all else can then be asked for.
    fn open(table: &'a Table<'i>, shape: &'static Shape, report: &'r mut Report<'t>) -> Self {
        let (at, table) = (table.span().start, table.get_ref());
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !shape.keys.contains(&name) {
                report.add(key.span().start, shape.refuse(name, value.get_ref()));
            }
        }
        Self { at, shape, table, report }
    }

    /// Reports it if none of these keys is there, by the name of the first;
    /// `example` is a line that would do.
    fn require(&mut self, keys: &[&'static str], example: &'static str) -> &mut Self {
        if !keys.iter().any(|key| self.table.contains_key(*key)) {
            let (place, key) = (self.shape.place, keys.first().copied().unwrap_or_default());
            self.report.add(self.at, ProblemKind::Missing { place, key, example });
        }
        self
    }

    fn text(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a string")?;
        self.refuse_reference(key, text)
    }

    fn size(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a size in quotes, as in \"64MiB\"")?;
        self.refuse_reference(key, text)
    }

    fn duration(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a duration in quotes, as in \"250ms\"")?;
        self.refuse_reference(key, text)
    }

    /// A string which may hold `${env:NAME}`.
    fn secret(&mut self, key: &'static str) -> Option<Text> {
        self.string(key, "a string")
    }

    fn integer(&mut self, key: &'static str) -> Option<Integer> {
        let value = self.table.get(key)?;
        let DeValue::Integer(written) = value.get_ref() else {
            return self.wrong_type(key, "an integer", value);
        };
        match json::integer(written) {
            Some(number) => Some(Spanned::new(value.span(), number)),
            None => {
                let (least, most) = (i64::MIN.to_string(), i64::MAX.to_string());
                let (key, value_) = (key.to_owned(), written.to_string());
                let kind = ProblemKind::OutOfRange { key, value: value_, least, most };
                self.report.add(value.span().start, kind);
                None
            }
        }
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => self.wrong_type(key, "true or false", value),
        }
    }

    fn texts(&mut self, key: &'static str) -> Option<Texts> {
        const EXPECTED: &str = "a list of names, as in [\"a\", \"b\"]";
        let value = self.table.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(key, EXPECTED, value);
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Spanned::new(item.span(), text.to_string())),
                _ => self.wrong_type(key, EXPECTED, item).unwrap_or_default(),
            }
        }
        Some(Spanned::new(value.span(), texts))
    }

    fn guest_config(&mut self, key: &'static str) -> String {
        match self.table.get(key) {
            None => String::new(),
            Some(value) => match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Table(_) => json::write(value, self.report),
                _ => self.wrong_type(key, "a table or a string", value).unwrap_or_default(),
            },
        }
    }

    fn table<T: Default>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Table<'i>, &mut Report<'t>) -> T,
    ) -> T {
        let Some(value) = self.table.get(key) else { return T::default() };
        match value.get_ref() {
            DeValue::Table(table) => read(&Spanned::new(value.span(), table.clone()), self.report),
            _ => self.wrong_type(key, "a table, once in the file", value).unwrap_or_default(),
        }
    }

    fn tables<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Table<'i>, &mut Report<'t>) -> T,
    ) -> Vec<T> {
        const EXPECTED: &str = "a list of tables, each under its own [[…]]";
        let Some(value) = self.table.get(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(items) => {
                let mut tables = Vec::with_capacity(items.len());
                for item in items {
                    match item.get_ref() {
                        DeValue::Table(table) => {
                            let table = Spanned::new(item.span(), table.clone());
                            tables.push(read(&table, self.report));
                        }
                        _ => self.wrong_type(key, EXPECTED, item).unwrap_or_default(),
                    }
                }
                tables
            }
            DeValue::Table(table) => {
                // One bracket too few: what is inside can be checked all the same.
                self.wrong_type::<()>(key, EXPECTED, value);
                vec![read(&Spanned::new(value.span(), table.clone()), self.report)]
            }
            _ => self.wrong_type(key, EXPECTED, value).unwrap_or_default(),
        }
    }

    fn string(&mut self, key: &'static str, expected: &'static str) -> Option<Text> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
            _ => self.wrong_type(key, expected, value),
        }
    }

    /// Values other than secrets stand in the file, so that the file says what the gateway does.
    fn refuse_reference(&mut self, key: &'static str, text: Text) -> Option<Text> {
        if !text.get_ref().contains("${env:") {
            return Some(text);
        }
        let kind = ProblemKind::NoSecret { key: key.to_owned() };
        self.report.add(text.span().start, kind);
        None
    }

    fn wrong_type<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let kind = ProblemKind::WrongType { key: key.to_owned(), expected, found };
        self.report.add(value.span().start, kind);
        None
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
