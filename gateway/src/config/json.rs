//! A guest's configuration: the TOML of the file as the JSON text that crosses.

use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::report::{ProblemKind, Report};

/// Writes a value as JSON, tables with their keys sorted. What JSON cannot hold is reported.
pub(super) fn write(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> String {
    let mut text = String::new();
    push(&mut text, value, report);
    text
}

/// The value of an integer, if 64 bits with a sign hold it.
pub(super) fn integer(written: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(written.as_str(), written.radix()).ok()
}

fn push(text: &mut String, value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) {
    match value.get_ref() {
        DeValue::String(string) => push_string(text, string),
        DeValue::Integer(written) => match integer(written) {
            Some(number) => push_display(text, number),
            None => refuse(value, "an integer of more than 64 bits", report),
        },
        DeValue::Float(written) => match written.as_str().parse::<f64>() {
            // `{:?}` writes the shortest digits that are read back as the same number.
            Ok(number) if number.is_finite() => push_display(text, format_args!("{number:?}")),
            _ => refuse(value, "a float that is infinite or no number", report),
        },
        DeValue::Boolean(boolean) => push_display(text, boolean),
        DeValue::Datetime(time) => push_string(text, &time.to_string()),
        DeValue::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                push_comma(text, index);
                push(text, item, report);
            }
            text.push(']');
        }
        DeValue::Table(table) => {
            text.push('{');
            for (index, (key, item)) in table.iter().enumerate() {
                push_comma(text, index);
                push_string(text, key.get_ref());
                text.push(':');
                push(text, item, report);
            }
            text.push('}');
        }
    }
}

fn push_comma(text: &mut String, index: usize) {
    if index > 0 {
        text.push(',');
    }
}

fn push_display(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a `String` does not fail.
    write!(text, "{value}").unwrap_or_default();
}

fn push_string(text: &mut String, string: &str) {
    text.push('"');
    for letter in string.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            control if u32::from(control) < 0x20 => {
                push_display(text, format_args!("\\u{:04x}", u32::from(control)));
            }
            _ => text.push(letter),
        }
    }
    text.push('"');
}

fn refuse(value: &Spanned<DeValue<'_>>, what: &str, report: &mut Report<'_>) {
    let fact = format!("{what} cannot cross to a guest; allowed: what JSON can hold");
    report.add(value.span().start, ProblemKind::GuestConfig(fact));
}
