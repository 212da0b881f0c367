//! The native stand-ins for what the host imports: one set of tables per thread.

use std::cell::RefCell;

use crate::FieldId;
use crate::host::Level;

#[derive(Debug, Default)]
struct Tables {
    fields: Vec<String>,
    series: Vec<(u32, Vec<String>)>,
    log: Vec<(Level, String)>,
}

thread_local! {
    static TABLES: RefCell<Tables> = RefCell::new(Tables::default());
}

pub(crate) fn log(level: Level, text: &str) {
    TABLES.with_borrow_mut(|tables| tables.log.push((level, text.to_owned())));
}

pub(crate) fn intern_field(name: &str) -> FieldId {
    FieldId(TABLES.with_borrow_mut(|tables| {
        let known = tables.fields.iter().position(|known| known == name);
        crate::edits::word(known.unwrap_or_else(|| {
            tables.fields.push(name.to_owned());
            tables.fields.len() - 1
        }))
    }))
}

pub(crate) fn intern_series(metric: u32, labels: &[String]) -> u32 {
    TABLES.with_borrow_mut(|tables| {
        let known = tables.series.iter().position(|(of, values)| *of == metric && values == labels);
        crate::edits::word(known.unwrap_or_else(|| {
            tables.series.push((metric, labels.to_vec()));
            tables.series.len() - 1
        }))
    })
}

pub(crate) fn field_name(id: FieldId) -> Option<String> {
    TABLES.with_borrow(|tables| tables.fields.get(id.0 as usize).cloned())
}

pub(crate) fn series(id: u32) -> Option<(u32, Vec<String>)> {
    TABLES.with_borrow(|tables| tables.series.get(id as usize).cloned())
}

/// Whether something with `part` in it was logged on this thread.
#[must_use]
pub fn logged(part: &str) -> bool {
    TABLES.with_borrow(|tables| tables.log.iter().any(|(_, text)| text.contains(part)))
}

/// What was logged on this thread since the last call.
#[must_use]
pub fn take_log() -> Vec<(Level, String)> {
    TABLES.with_borrow_mut(|tables| std::mem::take(&mut tables.log))
}
