//! What a guest says of itself, held against the rules.

use std::collections::HashSet;
use std::sync::atomic::AtomicU32;

use crate::abi;
use crate::instance::{intern_charged, tame};
use crate::interest::Interest;
use crate::series::{MetricKind, MetricSpec};

/// Most reasons a manifest may name.
const REASONS_MAX: usize = 32;
/// Most routes a manifest may name.
const ROUTES_MAX: usize = 1024;
/// Most metrics a manifest may declare.
const METRICS_MAX: usize = 256;
/// Most labels a metric may have.
const LABELS_MAX: usize = 16;
/// Most bounds a histogram may have.
const BUCKETS_MAX: usize = 64;
/// Most globs an interest may have, of apps and app names each.
const GLOBS_MAX: usize = 256;
/// Most literals an interest may have.
const LITERALS_MAX: usize = 1024;
/// Most fields a guest may read.
const FIELDS_MAX: usize = 256;
/// Longest glob or literal, in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// Longest name of a reason, metric or label, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What a guest said of itself.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Its own name for itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Routes it may send to, by the index its verdicts use.
    pub routes: Vec<String>,
    /// Why it drops records, by index.
    pub reasons: Vec<String>,
    /// Names of its metrics.
    pub metrics: Vec<String>,
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), String> {
    if count <= max {
        return Ok(());
    }
    Err(format!("{count} {what}; at most {max} are allowed"))
}

/// Checks and compiles an interest. Field names that are new are charged to `names_left`.
pub(crate) fn interest(raw: &abi::Interest, names_left: &AtomicU32) -> Result<Interest, String> {
    for (what, list, max) in [
        ("interest.apps", &raw.apps, GLOBS_MAX),
        ("interest.app-names", &raw.app_names, GLOBS_MAX),
        ("interest.literals", &raw.literals, LITERALS_MAX),
    ] {
        check_count(what, list.len(), max)?;
        if let Some(long) = list.iter().find(|pattern| pattern.len() > PATTERN_BYTES_MAX) {
            let limit = format!("at most {PATTERN_BYTES_MAX} are allowed");
            return Err(format!("{what} has a pattern of {} bytes; {limit}", long.len()));
        }
    }
    check_count("interest.fields", raw.fields.len(), FIELDS_MAX)?;
    let intern = |name: &String| {
        intern_charged(names_left, name).ok_or_else(|| {
            format!("interest.fields: \"{}\" is too long or above the limit of names", tame(name))
        })
    };
    let fields = raw.fields.iter().map(intern).collect::<Result<_, _>>()?;
    Interest::compile(raw.severity, &raw.apps, &raw.app_names, &raw.literals, fields)
}

fn is_snake(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Letters, digits and underscores, the first no digit.
fn is_label_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    starts && rest && name.len() <= NAME_BYTES_MAX
}

/// As a label's, with colons anywhere.
fn is_metric_name(name: &str) -> bool {
    is_label_name(&name.replace(':', "_"))
}

fn check_labels(metric: &str, labels: &[String]) -> Result<(), String> {
    check_count(&format!("labels of {metric}"), labels.len(), LABELS_MAX)?;
    let mut seen = HashSet::new();
    for label in labels {
        if !is_label_name(label) {
            return Err(format!("\"{}\" is no name for a label of {metric}", tame(label)));
        }
        if matches!(label.as_str(), "guest" | "le") || label.starts_with("__") {
            return Err(format!("the label \"{label}\" of {metric} is reserved"));
        }
        if !seen.insert(label) {
            return Err(format!("the label \"{label}\" of {metric} is there twice"));
        }
    }
    Ok(())
}

fn check_metric(metric: &abi::Metric) -> Result<(), String> {
    if !is_metric_name(&metric.name) {
        return Err(format!("\"{}\" is no name for a metric", tame(&metric.name)));
    }
    let name = &metric.name;
    if name.starts_with("logboom_") {
        return Err(format!("{name} starts with \"logboom_\", which is for the gateway's own"));
    }
    check_labels(name, &metric.labels)?;
    check_count(&format!("buckets of {name}"), metric.buckets.len(), BUCKETS_MAX)?;
    let is_finite = metric.buckets.iter().all(|bound| bound.is_finite());
    if !is_finite || !metric.buckets.is_sorted_by(|a, b| a < b) {
        return Err(format!("buckets of {name} are not finite or do not ascend"));
    }
    Ok(())
}

/// Checks the rest of a manifest.
pub(crate) fn manifest(raw: abi::Manifest) -> Result<(Manifest, Vec<MetricSpec>), String> {
    check_count("routes", raw.routes.len(), ROUTES_MAX)?;
    check_count("reasons", raw.reasons.len(), REASONS_MAX)?;
    check_count("metrics", raw.metrics.len(), METRICS_MAX)?;
    if let Some(bad) = raw.reasons.iter().find(|reason| !is_snake(reason)) {
        return Err(format!("reason \"{}\" is not in snake_case", tame(bad)));
    }
    let mut seen = HashSet::new();
    for metric in &raw.metrics {
        check_metric(metric)?;
        if !seen.insert(&metric.name) {
            return Err(format!("the metric {} is there twice", metric.name));
        }
    }
    let metrics: Vec<MetricSpec> = raw.metrics.into_iter().map(spec).collect();
    let manifest = Manifest {
        name: tame(&raw.name),
        version: tame(&raw.version),
        routes: raw.routes,
        reasons: raw.reasons,
        metrics: metrics.iter().map(|metric| metric.name.clone()).collect(),
    };
    Ok((manifest, metrics))
}

fn spec(metric: abi::Metric) -> MetricSpec {
    let kind = match metric.kind {
        abi::MetricKind::Counter => MetricKind::Counter,
        abi::MetricKind::Gauge => MetricKind::Gauge,
        abi::MetricKind::Histogram => MetricKind::Histogram,
    };
    let help = tame(&metric.help);
    MetricSpec { name: metric.name, help, kind, labels: metric.labels, buckets: metric.buckets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, labels: &[&str], buckets: &[f64]) -> abi::Metric {
        abi::Metric {
            name: name.into(),
            help: String::new(),
            kind: abi::MetricKind::Histogram,
            labels: labels.iter().map(ToString::to_string).collect(),
            buckets: buckets.to_vec(),
        }
    }

    fn with(metrics: Vec<abi::Metric>) -> Result<(), String> {
        let raw = abi::Manifest {
            name: "m".into(),
            version: "1".into(),
            interest: abi::Interest::default(),
            routes: vec![],
            reasons: vec![],
            metrics,
        };
        manifest(raw).map(drop)
    }

    #[test]
    fn metrics_that_would_break_the_page_are_refused() {
        let labels: Vec<String> = (0..17).map(|i| format!("l{i}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let bounds: Vec<f64> = (0..65).map(f64::from).collect();
        assert_eq!(with(vec![metric("a:b_total", &labels[..16], &bounds[..64])]), Ok(()));
        for (bad, part) in [
            (metric("0a", &[], &[]), "no name for a metric"),
            (metric("", &[], &[]), "no name for a metric"),
            (metric("logboom_x", &[], &[]), "gateway's own"),
            (metric("a", &labels, &[]), "17 labels of a; at most 16"),
            (metric("a", &["x:y"], &[]), "no name for a label"),
            (metric("a", &["guest"], &[]), "reserved"),
            (metric("a", &["le"], &[]), "reserved"),
            (metric("a", &["__x"], &[]), "reserved"),
            (metric("a", &["x", "x"], &[]), "twice"),
            (metric("a", &[], &bounds), "65 buckets of a; at most 64"),
            (metric("a", &[], &[f64::NAN]), "not finite"),
            (metric("a", &[], &[1.0, f64::INFINITY]), "not finite"),
            (metric("a", &[], &[1.0, 1.0]), "do not ascend"),
        ] {
            let message = with(vec![bad]).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        let twice = with(vec![metric("a", &[], &[]), metric("a", &["x"], &[])]).unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
    }

    #[test]
    fn an_interest_has_limits() {
        let left = AtomicU32::new(1000);
        let texts = |n: usize, len: usize| vec!["x".repeat(len); n];
        let none = || abi::Interest { severity: 7, ..Default::default() };
        for (bad, part) in [
            (abi::Interest { apps: texts(257, 1), ..none() }, "257 interest.apps"),
            (abi::Interest { app_names: texts(1, 257), ..none() }, "pattern of 257 bytes"),
            (abi::Interest { literals: texts(1025, 1), ..none() }, "1025 interest.literals"),
            (abi::Interest { literals: texts(1, 257), ..none() }, "pattern of 257 bytes"),
            (abi::Interest { fields: texts(257, 1), ..none() }, "257 interest.fields"),
        ] {
            let message = interest(&bad, &left).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        let most = abi::Interest { apps: texts(256, 256), literals: texts(1024, 256), ..none() };
        assert!(interest(&most, &left).is_ok());
    }

    #[test]
    fn fields_that_a_guest_reads_count_against_its_names() {
        let left = AtomicU32::new(2);
        let reads = |names: &[&str]| abi::Interest {
            severity: 7,
            fields: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        assert!(interest(&reads(&["charged_1", "charged_2"]), &left).is_ok());
        assert!(interest(&reads(&["charged_1", "charged_2"]), &left).is_ok(), "known by now");
        assert!(interest(&reads(&["charged_3"]), &left).is_err());
    }
}
