//! The keys of one table, taken by name and by type.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::json;
use super::super::report::{ProblemKind, Report};
use super::{Flag, Integer, Shape, Text, Texts};

/// A table and its place.
pub(super) type Table<'i> = Spanned<DeTable<'i>>;

/// The keys of one table, taken one after the other.
pub(super) struct Fields<'a, 'i, 'r, 't> {
    at: usize,
    shape: &'static Shape,
    table: &'a DeTable<'i>,
    report: &'r mut Report<'t>,
}

impl<'a, 'i, 'r, 't> Fields<'a, 'i, 'r, 't> {
    /// Refuses what is not of the shape; all else can then be asked for.
    pub(super) fn open(
        table: &'a Table<'i>,
        shape: &'static Shape,
        report: &'r mut Report<'t>,
    ) -> Self {
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
    pub(super) fn require(&mut self, keys: &[&'static str], example: &'static str) -> &mut Self {
        if !keys.iter().any(|key| self.table.contains_key(*key)) {
            let (place, key) = (self.shape.place, keys.first().copied().unwrap_or_default());
            self.report.add(self.at, ProblemKind::Missing { place, key, example });
        }
        self
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a string")?;
        self.refuse_reference(key, text)
    }

    pub(super) fn size(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a size in quotes, as in \"64MiB\"")?;
        self.refuse_reference(key, text)
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Text> {
        let text = self.string(key, "a duration in quotes, as in \"250ms\"")?;
        self.refuse_reference(key, text)
    }

    /// A string which may hold `${env:NAME}`.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Text> {
        self.string(key, "a string")
    }

    /// A table of strings which may hold `${env:NAME}`.
    pub(super) fn secrets(&mut self, key: &'static str) -> Vec<(Text, Text)> {
        const EXPECTED: &str = "a table of strings, as in { app = \"${env:TOKEN}\" }";
        let Some(value) = self.table.get(key) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(key, EXPECTED, value).unwrap_or_default();
        };
        let mut secrets = Vec::with_capacity(table.len());
        for (name, secret) in table {
            let name = Spanned::new(name.span(), name.get_ref().to_string());
            match secret.get_ref() {
                DeValue::String(text) => {
                    secrets.push((name, Spanned::new(secret.span(), text.to_string())));
                }
                _ => self.wrong_type(key, EXPECTED, secret).unwrap_or_default(),
            }
        }
        secrets
    }

    pub(super) fn integer(&mut self, key: &'static str) -> Option<Integer> {
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

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<Flag> {
        let value = self.table.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(Spanned::new(value.span(), *boolean)),
            _ => self.wrong_type(key, "true or false", value),
        }
    }

    pub(super) fn names(&mut self, key: &'static str) -> Option<Texts> {
        self.texts(key, "a list of names, as in [\"a\", \"b\"]")
    }

    /// A list of strings of the kind that `expected` tells.
    pub(super) fn texts(&mut self, key: &'static str, expected: &'static str) -> Option<Texts> {
        let value = self.table.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(key, expected, value);
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Spanned::new(item.span(), text.to_string())),
                _ => self.wrong_type(key, expected, item).unwrap_or_default(),
            }
        }
        Some(Spanned::new(value.span(), texts))
    }

    pub(super) fn guest_config(&mut self, key: &'static str) -> String {
        match self.table.get(key) {
            None => String::new(),
            Some(value) => match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Table(_) => json::write(value, self.report),
                _ => self.wrong_type(key, "a table or a string", value).unwrap_or_default(),
            },
        }
    }

    pub(super) fn table<T: Default>(
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

    pub(super) fn tables<T>(
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
