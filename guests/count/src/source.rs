//! Where labels and values come from.

use std::io::Write;

use guest_matching::{Groups, severity_keyword};
use guest_scan::Number;
use logboom_guest::{FieldId, Manifest, Record, Value};

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    App,
    AppName,
    Facility,
    Field(FieldId),
    Group(usize),
    Host,
    MsgId,
    ProcId,
    Severity,
}

/// Keywords of the facilities 0 to 23.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "security", "console", "cron2", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

impl Source {
    /// Understands the text of a source; `groups` are those of the metric's expression.
    pub(crate) fn compile(
        text: &str,
        groups: Option<&Groups>,
        manifest: &mut Manifest,
    ) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("field.") {
            if !manifest.interest.fields.iter().any(|known| known == name) {
                manifest.interest.fields.push(name.to_owned());
            }
            return Ok(Self::Field(FieldId::intern(name)));
        }
        if let Some(name) = text.strip_prefix("match.") {
            let Some(groups) = groups else {
                return Err(format!("{text:?} needs a `regex` in the metric's match"));
            };
            let known = groups.index(name).map(Self::Group);
            return known.ok_or_else(|| format!("the expression has no group {name:?}"));
        }
        Ok(match text {
            "app" => Self::App,
            "app_name" => Self::AppName,
            "facility" => Self::Facility,
            "host" => Self::Host,
            "msg_id" => Self::MsgId,
            "proc_id" => Self::ProcId,
            "severity" => Self::Severity,
            _ => {
                return Err(format!(
                    "{text:?} is unknown; app, app_name, host, proc_id, msg_id, severity, \
                     facility, field.NAME and match.GROUP are allowed"
                ));
            }
        })
    }

    /// The text of a label; what is a number in the record is empty here.
    pub(crate) fn text<'a>(&self, record: &Record<'a>, groups: Option<&Groups>) -> &'a [u8] {
        match self {
            Self::App => record.app(),
            Self::AppName => record.app_name(),
            Self::Facility => {
                FACILITIES[usize::from(record.facility()).min(FACILITIES.len() - 1)].as_bytes()
            }
            Self::Field(id) => match record.field(*id) {
                Some(Value::Text(text) | Value::Json(text)) => text,
                Some(Value::Bool(true)) => b"true",
                Some(Value::Bool(false)) => b"false",
                Some(Value::Integer(_) | Value::Float(_) | Value::Null) | None => &[],
            },
            Self::Group(index) => groups.map_or(&[], |groups| groups.text(*index, record.body())),
            Self::Host => record.host(),
            Self::MsgId => record.msg_id(),
            Self::ProcId => record.proc_id(),
            Self::Severity => severity_keyword(record.severity()).as_bytes(),
        }
    }

    /// Writes what is a number in the record; nothing otherwise.
    pub(crate) fn write_number(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let Self::Field(id) = self else { return };
        let written = match record.field(*id) {
            Some(Value::Integer(value)) => write!(out, "{value}"),
            Some(Value::Float(value)) => write!(out, "{value}"),
            _ => Ok(()),
        };
        debug_assert!(written.is_ok(), "a vector takes everything");
    }

    /// The number of a value, from a number or from a text that is one.
    pub(crate) fn number(&self, record: &Record<'_>, groups: Option<&Groups>) -> Option<Number> {
        if let Self::Field(id) = self {
            match record.field(*id) {
                Some(Value::Integer(value)) => return Some(Number::Integer(value)),
                Some(Value::Float(value)) => return Some(Number::Float(value)),
                _ => {}
            }
        }
        if *self == Self::Severity {
            return Some(Number::Integer(i64::from(record.severity())));
        }
        Number::parse(self.text(record, groups))
    }
}
