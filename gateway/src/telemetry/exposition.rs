//! The metrics page: Prometheus text 0.0.4.
//!
//! The gateway's own metrics go through the `metrics` facade; the ledger is copied into it when
//! the page is asked for, so that counting costs one addition a batch. What meters count is
//! written behind, each series with the label `guest`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use logboom_host::{Guest, MetricKind, Sample, SeriesView};
use logboom_spool::{State, Stats};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::ledger::{DestinationBook, Ledger, SourceBook};
use super::metric;
use super::streams::Streams;

/// Bounds of the histogram of seconds in a guest.
const SECONDS: &[f64] = &[1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, 2.5e-1];
/// Bounds of the histogram of records in a call.
const RECORDS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// Installs the recorder of the process. A second call fails, which tests run into.
///
/// # Errors
/// A sentence, when another recorder is there or a bound is invalid.
pub fn install() -> Result<PrometheusHandle, String> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(metric::GUEST_CALL_SECONDS.into()), SECONDS)
        .and_then(|b| {
            b.set_buckets_for_metric(Matcher::Full(metric::GUEST_CALL_RECORDS.into()), RECORDS)
        })
        .map_err(|error| error.to_string())?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    for each in metric::ALL {
        match each.kind {
            "counter" => metrics::describe_counter!(each.name, each.help),
            "gauge" => metrics::describe_gauge!(each.name, each.help),
            _ => metrics::describe_histogram!(each.name, each.help),
        }
    }
    Ok(handle)
}

/// What the page is written from.
#[derive(Debug)]
pub struct Exposition {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// All guests in force.
    pub guests: ArcSwap<Vec<Arc<Guest>>>,
}

impl Exposition {
    /// Notes the memory of the process. `arena_bytes` is what batches in flight hold.
    pub fn publish_process(&self, arena_bytes: usize) {
        gauge(metric::PROCESS_MEMORY_BYTES, &[], resident_bytes());
        gauge(metric::PROCESS_ARENA_BYTES, &[], arena_bytes as u64);
    }

    /// Notes the figures of the spool.
    pub fn publish_spool(&self, state: &State, stats: &Stats) {
        gauge(metric::SPOOL_BYTES, &[], stats.bytes);
        gauge(metric::SPOOL_SEGMENTS, &[], stats.segments);
        counter(metric::SPOOL_SYNCS, &[], stats.syncs);
        counter(metric::SPOOL_APPENDED, &[], stats.appended_entries);
        counter(metric::SPOOL_UNWRITTEN, &[], stats.unwritten_entries);
        let state = match state {
            State::Good => 0,
            State::Full => 1,
            State::Failed(_) => 2,
        };
        gauge(metric::SPOOL_STATE, &[], state);
    }

    /// Notes where a destination stands.
    pub fn publish_standpoint(&self, destination: &str, is_open: bool, oldest: Duration) {
        if !self.ledger.is_used(destination) {
            return;
        }
        let labels = [("destination", destination)];
        gauge(metric::OUTBOUND_BREAKER, &labels, u64::from(is_open));
        metrics::gauge!(metric::OUTBOUND_OLDEST, self::labels(&labels)).set(oldest.as_secs_f64());
    }

    /// Writes the page.
    #[must_use]
    pub fn page(&self, handle: &PrometheusHandle) -> String {
        self.ledger.sources().iter().for_each(|book| publish_source(book));
        self.ledger.destinations().iter().for_each(|book| publish_destination(book));
        gauge(metric::LEDGER_BALANCED, &[], u64::from(self.ledger.is_balanced()));
        for guest in self.guests.load().iter() {
            let (series, refused) = guest.series_counts();
            gauge(metric::GUEST_SERIES, &[("guest", guest.name())], series as u64);
            counter(metric::GUEST_SERIES_REFUSED, &[("guest", guest.name())], refused);
        }
        let mut page = handle.render();
        self.render_meters(&mut page);
        page
    }

    /// A metric that two guests declare is written once, with the series of both.
    fn render_meters(&self, page: &mut String) {
        let mut families: Vec<(String, String)> = Vec::new();
        for guest in self.guests.load().iter() {
            guest.for_each_series(|view| {
                let at = families.iter().position(|(name, _)| name == view.metric);
                let at = at.unwrap_or_else(|| {
                    families.push((view.metric.to_owned(), family_head(&view)));
                    families.len() - 1
                });
                write_series(&mut families[at].1, guest.name(), &view);
            });
        }
        families.iter().for_each(|(_, text)| page.push_str(text));
    }
}

fn family_head(view: &SeriesView<'_>) -> String {
    let kind = match view.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let help = view.help.replace('\\', "\\\\");
    format!("# HELP {0} {help}\n# TYPE {0} {kind}\n", view.metric)
}

fn write_series(out: &mut String, guest: &str, view: &SeriesView<'_>) {
    let mut labels = format!("guest=\"{}\"", escape(guest));
    for (name, value) in view.label_names.iter().zip(view.label_values) {
        labels.push_str(&format!(",{name}=\"{}\"", escape(value)));
    }
    let mut line = |suffix: &str, extra: &str, value: &dyn std::fmt::Display| {
        writeln!(out, "{}{suffix}{{{labels}{extra}}} {value}", view.metric).unwrap_or_default();
    };
    match view.sample {
        Sample::Number(value) => line("", "", value),
        Sample::Histogram { buckets, sum, count } => {
            let mut below = 0;
            for (bound, n) in view.bounds.iter().zip(buckets) {
                below += n;
                line("_bucket", &format!(",le=\"{bound}\""), &below);
            }
            line("_bucket", ",le=\"+Inf\"", count);
            line("_sum", "", sum);
            line("_count", "", count);
        }
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: &[(&'static str, &str)]) -> Vec<metrics::Label> {
    pairs.iter().map(|(k, v)| metrics::Label::new(*k, (*v).to_owned())).collect()
}

fn counter(name: &'static str, pairs: &[(&'static str, &str)], value: u64) {
    metrics::counter!(name, labels(pairs)).absolute(value);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats in the exposition format")]
fn gauge(name: &'static str, pairs: &[(&'static str, &str)], value: u64) {
    metrics::gauge!(name, labels(pairs)).set(value as f64);
}

fn publish_source(book: &SourceBook) {
    let source = [("source", book.name.as_str())];
    counter(metric::INGEST_RECEIVED, &source, book.received.get());
    counter(metric::INGEST_RECEIVED_BYTES, &source, book.received_bytes.get());
    for (reason, n) in book.rejected() {
        counter(metric::INGEST_REJECTED, &[source[0], ("reason", reason.keyword())], n);
    }
    gauge(metric::INGEST_SESSIONS, &source, book.sessions.get());
    publish_streams(&book.streams, source[0]);
    counter(metric::PIPELINE_CREATED, &source, book.created.get());
    counter(metric::PIPELINE_REPLAYED, &source, book.replayed.get());
    counter(metric::PIPELINE_ROUTED, &source, book.routed.get());
    counter(metric::PIPELINE_COPIES, &source, book.copies.get());
    for (reason, n) in book.dropped.iter() {
        counter(metric::PIPELINE_DROPPED, &[source[0], ("reason", reason.keyword())], n);
    }
    counter(metric::PIPELINE_PARKED, &source, book.parked.get());
    gauge(metric::PIPELINE_IN_FLIGHT, &source, book.in_pipeline.get());
}

/// Sources that never had a stream have no lines for them.
fn publish_streams(streams: &Streams, source: (&'static str, &str)) {
    if streams.opened.get() == 0 {
        return;
    }
    gauge(metric::INGEST_STREAMS, &[source], streams.open.get());
    for (end, n) in streams.ended() {
        counter(metric::INGEST_STREAMS_ENDED, &[source, ("outcome", end.keyword())], n);
    }
    counter(metric::INGEST_STREAM_GAPS, &[source], streams.gaps.get());
    counter(metric::INGEST_STREAM_MESSAGES, &[source], streams.messages.get());
    counter(metric::INGEST_STREAM_ENTRIES, &[source], streams.entries.get());
}

fn publish_destination(book: &DestinationBook) {
    // Of a hundred thousand destinations most may never have had a record: they have no lines.
    if !book.is_used() {
        return;
    }
    let destination = [("destination", book.name.as_str())];
    counter(metric::OUTBOUND_ACCEPTED, &destination, book.accepted.get());
    counter(metric::OUTBOUND_RECOVERED, &destination, book.recovered.get());
    counter(metric::OUTBOUND_REPLAYED, &destination, book.replayed.get());
    counter(metric::OUTBOUND_DELIVERED, &destination, book.delivered.get());
    counter(metric::OUTBOUND_DELIVERED_BYTES, &destination, book.delivered_bytes.get());
    // Reasons and outcomes that never were have no lines either: there are some twenty of them.
    for (reason, n) in book.dropped.iter().filter(|(_, n)| *n > 0) {
        counter(metric::OUTBOUND_DROPPED, &[destination[0], ("reason", reason.keyword())], n);
    }
    counter(metric::OUTBOUND_PARKED, &destination, book.parked.get());
    gauge(metric::OUTBOUND_IN_FLIGHT, &destination, book.in_flight.get());
    gauge(metric::OUTBOUND_SPOOLED, &destination, book.spooled.get());
    gauge(metric::OUTBOUND_QUEUE_BYTES, &destination, book.queue_bytes.get());
    gauge(metric::OUTBOUND_CONNECTIONS, &destination, book.connections.get());
    counter(metric::OUTBOUND_CONNECTS, &destination, book.connects.get());
    for (outcome, n) in book.attempts.iter().filter(|(_, n)| *n > 0) {
        counter(metric::OUTBOUND_ATTEMPTS, &[destination[0], ("outcome", outcome.keyword())], n);
    }
}

/// Resident memory from `/proc/self/status`, 0 where there is none.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::super::ledger::{AttemptOutcome, DropReason};
    use super::*;

    #[test]
    fn a_destination_has_lines_for_what_it_has_seen() {
        let ledger = Arc::<Ledger>::default();
        let names = ["file:///used".to_owned(), "file:///idle".to_owned()];
        let books = ledger.open_destinations(&names);
        books[0].recovered.add(2);
        books[0].dropped.add(DropReason::Shed, 1);
        books[0].attempts.add(AttemptOutcome::Reset, 1);
        let exposition = Exposition { ledger, guests: ArcSwap::default() };
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = metrics::with_local_recorder(&recorder, || {
            names.iter().for_each(|name| exposition.publish_standpoint(name, true, Duration::ZERO));
            exposition.page(&recorder.handle())
        });
        assert!(!page.contains("file:///idle"), "{page}");
        for name in [metric::OUTBOUND_ACCEPTED, metric::OUTBOUND_DELIVERED] {
            assert!(
                page.contains(&format!("{name}{{destination=\"file:///used\"}} 0\n")),
                "{page}"
            );
        }
        let values = |label: &str| page.matches(&format!("{label}=\"")).count();
        assert_eq!((values("reason"), values("outcome")), (1, 1), "{page}");
        assert!(page.contains("reason=\"shed\"} 1") && page.contains("outcome=\"reset\"} 1"));
    }
}
