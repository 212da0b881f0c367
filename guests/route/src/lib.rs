//! `std:route`: sends records to routes, or to another app, by configured rules.
//!
//! ```json
//! {"rules": [
//!    {"match": {"contains": " status=5"}, "to": ["errors"], "keep": true},
//!    {"match": {"app": "batch-*"}, "set_app": "batch-all"}],
//!  "default": "keep"}
//! ```
//! The first rule whose match holds decides; with `"all": true` every rule whose match holds adds
//! its routes, and the last of them that has `set_app` gives the app. A rule's `keep` says whether
//! the drains of the record's app get it besides the routes `to`; it is `false` where there are
//! routes and `true` where there are none. Records that no rule matches are kept, or with
//! `"default": "drop"` dropped for the reason `unmatched`. What a match can say is told by the
//! crate `guest-matching`.
//!
//! Where records that match nothing are kept, the guest's interest is made from its matches, and
//! records that cannot match never cross into it.

use guest_matching::{Match, Set, interest};
use logboom_guest::{
    Batch, Guest, Manifest, Reason, Record, Route as RouteId, Router, Verdicts, config,
};

/// The guest.
#[derive(Debug)]
pub struct Route {
    set: Set,
    acts: Vec<Act>,
    applies_all: bool,
    drop_others: Option<Reason>,
}

/// What a rule does.
#[derive(Debug)]
struct Act {
    routes: Vec<RouteId>,
    is_kept: bool,
    app: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    default: Default,
    #[serde(default)]
    all: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    r#match: Match,
    #[serde(default)]
    to: Vec<String>,
    keep: Option<bool>,
    set_app: Option<String>,
}

#[derive(serde::Deserialize, Clone, Copy, PartialEq, Eq, std::default::Default)]
#[serde(rename_all = "lowercase")]
enum Default {
    #[default]
    Keep,
    Drop,
}

impl Guest for Route {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let Config { rules, default, all } = config::read(config)?;
        if rules.is_empty() {
            return Err("there is no rule; `rules` needs one at least".to_owned());
        }
        let mut manifest = Manifest::new("route", env!("CARGO_PKG_VERSION"));
        let mut acts = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            acts.push(rule.act(index, &mut manifest)?);
        }
        let matches = rules.iter().map(|rule| &rule.r#match);
        let places = (0..).map(|index: usize| format!("rules[{index}].match"));
        let set = Set::compile(places.zip(matches.clone()))?;
        if default == Default::Keep {
            manifest.interest = interest(matches);
        }
        manifest.interest.fields = set.fields().to_vec();
        let drop_others = (default == Default::Drop).then(|| manifest.add_reason("unmatched"));
        Ok((Self { set, acts, applies_all: all, drop_others }, manifest))
    }
}

impl Rule {
    fn act(&self, index: usize, manifest: &mut Manifest) -> Result<Act, String> {
        let is_kept = self.keep.unwrap_or(self.to.is_empty());
        if self.to.is_empty() && !is_kept {
            return Err(format!(
                "rules[{index}] sends its records nowhere; give `to`, or drop them by std:filter"
            ));
        }
        if self.set_app.as_ref().is_some_and(String::is_empty) {
            return Err(format!("rules[{index}].set_app is empty"));
        }
        if self.to.iter().any(String::is_empty) {
            return Err(format!("rules[{index}].to has an empty name"));
        }
        let routes = self.to.iter().map(|name| manifest.add_route(name)).collect();
        Ok(Act { routes, is_kept, app: self.set_app.clone() })
    }
}

impl Router for Route {
    fn route(&mut self, batch: &Batch<'_>, verdicts: &mut Verdicts<'_>) -> Result<(), String> {
        for record in batch.records() {
            let is_matched = if self.applies_all {
                self.apply_all(&record, verdicts)
            } else {
                let act = self.set.first(&record).and_then(|index| self.acts.get(index));
                if let Some(act) = act {
                    if !act.is_kept {
                        verdicts.clear(&record);
                    }
                    act.apply(&record, verdicts);
                }
                act.is_some()
            };
            if let Some(reason) = self.drop_others.filter(|_| !is_matched) {
                verdicts.drop(&record, reason);
            }
        }
        Ok(())
    }
}

impl Route {
    fn apply_all(&self, record: &Record<'_>, verdicts: &mut Verdicts<'_>) -> bool {
        let found = self.set.find(record.body());
        let holding = || {
            let acts = self.acts.iter().enumerate();
            acts.filter(|(index, _)| self.set.holds(*index, record, &found)).map(|(_, act)| act)
        };
        let is_kept = holding().any(|act| act.is_kept);
        let is_matched = is_kept || holding().next().is_some();
        if is_matched && !is_kept {
            verdicts.clear(record);
        }
        let mut app = None;
        for act in holding() {
            act.route(record, verdicts);
            app = act.app.as_deref().or(app);
        }
        if let Some(app) = app {
            verdicts.set_app(record, app.as_bytes());
        }
        is_matched
    }
}

impl Act {
    fn apply(&self, record: &Record<'_>, verdicts: &mut Verdicts<'_>) {
        self.route(record, verdicts);
        if let Some(app) = &self.app {
            verdicts.set_app(record, app.as_bytes());
        }
    }

    fn route(&self, record: &Record<'_>, verdicts: &mut Verdicts<'_>) {
        for route in &self.routes {
            verdicts.route(record, *route);
        }
    }
}

logboom_guest::export!(Route: router);

#[cfg(test)]
mod tests;
