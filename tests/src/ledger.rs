//! The gateway's books, read from its API and added up again here.

use serde_json::Value;

/// One reading of `/v1/ledger`.
#[derive(Clone, Debug)]
pub struct Ledger {
    value: Value,
}

impl Ledger {
    /// Reads the JSON text.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let value = serde_json::from_str(text);
        Self { value: value.unwrap_or_else(|error| panic!("ledger {text:?}: {error}")) }
    }

    /// A number of a source, such as `received`; `dropped` is the sum over its reasons.
    ///
    /// # Panics
    /// When the ledger has no such source or number.
    #[must_use]
    pub fn source(&self, name: &str, what: &str) -> u64 {
        number(&self.value["sources"][name], what)
            .unwrap_or_else(|| panic!("{name}.{what}: {self:?}"))
    }

    /// A number of the one destination whose canonical URL contains `part`.
    ///
    /// # Panics
    /// When not exactly one does, or it has no such number.
    #[must_use]
    pub fn destination(&self, part: &str, what: &str) -> u64 {
        let found: Vec<_> =
            entries(&self.value["destinations"]).filter(|(url, _)| url.contains(part)).collect();
        assert_eq!(found.len(), 1, "destinations with {part:?}: {self:?}");
        number(found[0].1, what).unwrap_or_else(|| panic!("{part}.{what}: {self:?}"))
    }

    /// What a source refused at the door for this reason.
    #[must_use]
    pub fn rejected(&self, name: &str, reason: &str) -> u64 {
        // Reasons that have not occurred are left out.
        number(&self.value["sources"][name]["rejected"], reason).unwrap_or(0)
    }

    /// The reasons for which a source dropped records, with their numbers.
    #[must_use]
    pub fn source_drops(&self, name: &str) -> Vec<(String, u64)> {
        reasons(&self.value["sources"][name])
    }

    /// The reasons for which a destination dropped records, with their numbers.
    #[must_use]
    pub fn destination_drops(&self, part: &str) -> Vec<(String, u64)> {
        entries(&self.value["destinations"])
            .filter(|(url, _)| url.contains(part))
            .flat_map(|(_, books)| reasons(books))
            .collect()
    }

    /// Attempts of a destination that failed.
    #[must_use]
    pub fn failures(&self, part: &str) -> u64 {
        let found = entries(&self.value["destinations"]).filter(|(url, _)| url.contains(part));
        let attempts = found.flat_map(|(_, books)| entries(&books["attempts"]));
        attempts.filter(|(outcome, _)| *outcome != "ok").filter_map(|(_, n)| n.as_u64()).sum()
    }

    /// The breaker of the one destination whose canonical URL contains `part`, and the age of its oldest
    /// record in seconds.
    ///
    /// # Panics
    /// When not exactly one does, or it does not say.
    #[must_use]
    pub fn standing(&self, part: &str) -> (&str, f64) {
        let all = entries(&self.value["destinations"]).filter(|(url, _)| url.contains(part));
        let [(_, book)] = all.collect::<Vec<_>>()[..] else {
            panic!("not one destination with {part:?}: {self:?}")
        };
        let standing = book["breaker"].as_str().zip(book["oldest_seconds"].as_f64());
        standing.unwrap_or_else(|| panic!("where {part} stands: {self:?}"))
    }

    /// True when nothing is on its way any more.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        entries(&self.value["sources"]).all(|(_, it)| number(it, "in_pipeline") == Some(0))
            && entries(&self.value["destinations"])
                .all(|(_, it)| number(it, "in_flight") == Some(0))
    }

    /// Adds the books up.
    ///
    /// # Panics
    /// Where a source or a destination has records that are neither somewhere nor accounted for, or
    /// the gateway itself says that its books do not balance.
    pub fn assert_balanced(&self) {
        let sum = |books: &Value, names: &[&str]| -> u64 {
            names
                .iter()
                .map(|name| number(books, name).unwrap_or_else(|| panic!("no {name}: {self:?}")))
                .sum()
        };
        for (name, books) in entries(&self.value["sources"]) {
            let came = sum(books, &["received", "created", "replayed"]);
            let went = sum(books, &["routed", "dropped", "parked", "in_pipeline"]);
            assert_eq!(came, went, "source {name} does not balance: {self:?}");
        }
        for (url, books) in entries(&self.value["destinations"]) {
            let went = sum(books, &["delivered", "dropped", "parked", "in_flight"]);
            let came = sum(books, &["accepted", "recovered", "replayed"]);
            assert_eq!(came, went, "{url} does not balance: {self:?}");
        }
        assert_eq!(self.value["balanced"], Value::Bool(true), "{self:?}");
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn number(books: &Value, what: &str) -> Option<u64> {
    match books.get(what)? {
        Value::Object(reasons) => reasons.values().map(Value::as_u64).sum(),
        value => value.as_u64(),
    }
}

fn reasons(books: &Value) -> Vec<(String, u64)> {
    let reasons = entries(&books["dropped"]);
    reasons.map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0))).collect()
}
