//! Text for people: tables, and records that cannot command a terminal.

use std::io::{self, Write};

/// Columns as wide as they must be, numbers to the right.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let mut columns = [(0, true); N];
    for (index, row) in all.iter().enumerate() {
        for ((width, is_number), cell) in columns.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
            *is_number &= index == 0 || cell.bytes().all(|byte| byte.is_ascii_digit());
        }
    }
    for row in &all {
        let cells = columns.iter().zip(row).map(|((width, is_number), cell)| {
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Text on one line that cannot command a terminal: control characters are written as `\u001b`.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, char::is_control)
}

/// The same JSON, unable to command a terminal: of control characters, JSON may have the upper ones.
pub(crate) fn printable_json(json: &str) -> String {
    escaped(json, |character| ('\u{7f}'..='\u{9f}').contains(&character))
}

fn escaped(text: &str, is_refused: impl Fn(char) -> bool) -> String {
    let mut fit = String::with_capacity(text.len());
    for character in text.chars() {
        if is_refused(character) {
            fit.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            fit.push(character);
        }
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_without_its_control_characters() {
        assert_eq!(printable("a\u{1b}[2J\n\u{9b}é"), "a\\u001b[2J\\u000a\\u009bé");
        let shown = printable_json("{\"a\":\"\u{9b}\u{7f}\",\n\t\"b\":1}");
        assert_eq!(shown, "{\"a\":\"\\u009b\\u007f\",\n\t\"b\":1}");
        let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(value["a"], "\u{9b}\u{7f}");
    }

    #[test]
    fn a_table_has_its_numbers_to_the_right() {
        let mut out = Vec::new();
        let rows = [["é".to_owned(), "7".to_owned()], ["longer".to_owned(), "1234".to_owned()]];
        table(["NAME", "N"], rows.into_iter(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME       N\né          7\nlonger  1234\n");
    }
}
