//! `std:filter`: drops records by configured matches, for the reason `filtered`.
//!
//! Configuration, one of the two: `{"drop": [match, …]}` drops what one of the matches holds for,
//! `{"keep": [match, …]}` drops everything else. What a match can say is told by the crate
//! `guest-matching`.

use guest_matching::{Match, Set, interest};
use logboom_guest::{Batch, Guest, Manifest, Reason, Router, Verdicts, config};

/// The guest.
#[derive(Debug)]
pub struct Filter {
    set: Set,
    drops_matches: bool,
    filtered: Reason,
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Config {
    drop: Option<Vec<Match>>,
    keep: Option<Vec<Match>>,
}

impl Guest for Filter {
    fn describe(config: &str) -> Result<(Self, Manifest), String> {
        let (name, matches, drops_matches) = match config::read(config)? {
            Config { drop: Some(matches), keep: None } => ("drop", matches, true),
            Config { drop: None, keep: Some(matches) } => ("keep", matches, false),
            Config { drop: Some(_), keep: Some(_) } => {
                return Err("both `drop` and `keep` are given; one of them is allowed".to_owned());
            }
            Config { drop: None, keep: None } => {
                return Err("neither `drop` nor `keep` is given; one of them is needed".to_owned());
            }
        };
        if matches.is_empty() {
            return Err(format!("`{name}` has no match; one at least is needed"));
        }
        let places = (0..).map(|index: usize| format!("{name}[{index}]"));
        let set = Set::compile(places.zip(&matches))?;
        let mut manifest = Manifest::new("filter", env!("CARGO_PKG_VERSION"));
        if drops_matches {
            // The host keeps what it does not hand over.
            manifest.interest = interest(&matches);
        }
        manifest.interest.fields = set.fields().to_vec();
        let filtered = manifest.add_reason("filtered");
        Ok((Self { set, drops_matches, filtered }, manifest))
    }
}

impl Router for Filter {
    fn route(&mut self, batch: &Batch<'_>, verdicts: &mut Verdicts<'_>) -> Result<(), String> {
        for record in batch.records() {
            if self.set.first(&record).is_some() == self.drops_matches {
                verdicts.drop(&record, self.filtered);
            }
        }
        Ok(())
    }
}

logboom_guest::export!(Filter: router);

#[cfg(test)]
mod tests {
    use super::*;
    use logboom_guest::testkit::{Inputs, Routed, Trial};

    fn dropped(config: &str) -> Vec<bool> {
        let mut trial = Trial::<Filter>::start(config).unwrap();
        let routed = trial.route(&Inputs::new(["GET /health", "GET /shop"])).unwrap();
        for one in &routed {
            let filtered = Routed { dropped: Some("filtered".into()), ..Routed::default() };
            let kept = Routed { is_kept: true, ..Routed::default() };
            assert!(*one == filtered || *one == kept, "{one:?}");
        }
        routed.iter().map(|one| one.dropped.is_some()).collect()
    }

    #[test]
    fn what_matches_is_dropped_or_kept() {
        assert_eq!(dropped(r#"{"drop":[{"contains":"/health"}]}"#), [true, false]);
        assert_eq!(dropped(r#"{"keep":[{"contains":"/health"}]}"#), [false, true]);
        assert_eq!(dropped(r#"{"drop":[{"contains":"x"},{"regex":"shop$"}]}"#), [false, true]);
    }

    #[test]
    fn only_what_is_dropped_by_match_can_stay_outside() {
        let interest = |config| Trial::<Filter>::start(config).unwrap().manifest().interest.clone();
        assert_eq!(interest(r#"{"drop":[{"contains":"/health"}]}"#).literals, ["/health"]);
        assert!(interest(r#"{"keep":[{"contains":"/health"}]}"#).literals.is_empty());
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_what_is_allowed() {
        for (config, expected) in [
            ("", "neither `drop` nor `keep` is given; one of them is needed"),
            (
                r#"{"drop":[],"keep":[]}"#,
                "both `drop` and `keep` are given; one of them is allowed",
            ),
            (r#"{"drop":[]}"#, "`drop` has no match; one at least is needed"),
            (r#"{"keep":[{}]}"#, "keep[0] has no condition; `\"all\": true` matches everything"),
            (r#"{"allow":[]}"#, "unknown field `allow`, expected `drop` or `keep`"),
        ] {
            assert_eq!(Trial::<Filter>::start(config).unwrap_err(), expected);
        }
    }
}
