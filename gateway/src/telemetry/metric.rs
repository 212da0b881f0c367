//! Every metric of the gateway itself, by name: one list, from which the page is written.
//!
//! Names are `logboom_<room>_<what>_<unit>[_total]`; labels come from a fixed list.

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:literal $name:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All of them.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, kind: $kind, help: $help },)*];
    };
}

metrics! {
    INGEST_RECEIVED "counter" "logboom_ingest_records_received_total" "Records taken in, by source.";
    INGEST_RECEIVED_BYTES "counter" "logboom_ingest_received_bytes_total" "Bytes of frames taken in, by source.";
    INGEST_REJECTED "counter" "logboom_ingest_rejected_total" "Frames or sessions refused at the door, by source and reason.";
    INGEST_SESSIONS "gauge" "logboom_ingest_sessions" "Open sessions, by source.";
    INGEST_STREAMS "gauge" "logboom_ingest_streams" "Open streams of access logs, by source.";
    INGEST_STREAMS_ENDED "counter" "logboom_ingest_streams_ended_total" "Streams of access logs that ended, by source and outcome.";
    INGEST_STREAM_GAPS "counter" "logboom_ingest_stream_gaps_total" "Streams of access logs that began again after one of the same sender and log was broken, by source.";
    INGEST_STREAM_MESSAGES "counter" "logboom_ingest_stream_messages_total" "Messages of access logs that came, by source.";
    INGEST_STREAM_ENTRIES "counter" "logboom_ingest_stream_entries_total" "Entries of access logs taken in as records, by source.";
    PIPELINE_CREATED "counter" "logboom_pipeline_records_created_total" "Records that guests made, by source.";
    PIPELINE_REPLAYED "counter" "logboom_pipeline_records_replayed_total" "Records that came back from the park, by source.";
    PIPELINE_ROUTED "counter" "logboom_pipeline_records_routed_total" "Records handed to at least one destination, by source.";
    PIPELINE_COPIES "counter" "logboom_pipeline_records_copied_total" "Records handed on, once for each destination, by source.";
    PIPELINE_DROPPED "counter" "logboom_pipeline_records_dropped_total" "Records dropped before any destination, by source and reason.";
    PIPELINE_PARKED "counter" "logboom_pipeline_records_parked_total" "Records parked before any destination, by source.";
    PIPELINE_IN_FLIGHT "gauge" "logboom_pipeline_records_in_flight" "Records in the pipeline now, by source.";
    GUEST_CALL_SECONDS "histogram" "logboom_guest_call_seconds" "Seconds a batch spends in a guest and at its border, by guest and role.";
    GUEST_CALL_RECORDS "histogram" "logboom_guest_call_records" "Records of a batch that cross into a guest, by guest and role.";
    GUEST_CROSSED "counter" "logboom_guest_records_crossed_total" "Records that crossed into a guest, by guest and role.";
    GUEST_FAULTS "counter" "logboom_guest_faults_total" "Failed calls, bisection included, by guest and kind.";
    GUEST_DROPPED "counter" "logboom_guest_records_dropped_total" "Records a guest dropped, by guest and its own reason.";
    GUEST_SERIES "gauge" "logboom_guest_series" "Series a guest has, by guest.";
    GUEST_SERIES_REFUSED "counter" "logboom_guest_series_refused_total" "Series refused at the limit and summed in the overflow series, by guest.";
    OUTBOUND_ACCEPTED "counter" "logboom_outbound_records_accepted_total" "Records taken into a destination's queue or into the spool for it.";
    OUTBOUND_RECOVERED "counter" "logboom_outbound_records_recovered_total" "Records that an earlier process left for a destination in the spool.";
    OUTBOUND_REPLAYED "counter" "logboom_outbound_records_replayed_total" "Records that came back to a destination from the park.";
    OUTBOUND_DELIVERED "counter" "logboom_outbound_records_delivered_total" "Records that a destination has.";
    OUTBOUND_DELIVERED_BYTES "counter" "logboom_outbound_delivered_bytes_total" "Bytes written to a destination, framing included.";
    OUTBOUND_DROPPED "counter" "logboom_outbound_records_dropped_total" "Records dropped on the way to a destination, by reason.";
    OUTBOUND_PARKED "counter" "logboom_outbound_records_parked_total" "Records parked on the way to a destination.";
    OUTBOUND_IN_FLIGHT "gauge" "logboom_outbound_records_in_flight" "Records queued for a destination, being written, or in the spool.";
    OUTBOUND_SPOOLED "gauge" "logboom_outbound_records_spooled" "Records for a destination that are in the spool and not in memory.";
    OUTBOUND_OLDEST "gauge" "logboom_outbound_oldest_seconds" "How long ago the oldest record was received that waits for a destination, in its queue or its connection's hand.";
    OUTBOUND_BREAKER "gauge" "logboom_outbound_breaker_open" "1 where a destination's breaker is open or half open: it has failed several times in a row.";
    OUTBOUND_QUEUE_BYTES "gauge" "logboom_outbound_queue_bytes" "Bytes queued for a destination.";
    OUTBOUND_CONNECTIONS "gauge" "logboom_outbound_connections" "Open connections to a destination.";
    OUTBOUND_CONNECTS "counter" "logboom_outbound_connects_total" "Connections opened to a destination.";
    OUTBOUND_ATTEMPTS "counter" "logboom_outbound_attempts_total" "Attempts to connect or to send, by outcome; ok counts acknowledged writes.";
    SPOOL_BYTES "gauge" "logboom_spool_bytes" "Bytes of the spool's segments.";
    SPOOL_SEGMENTS "gauge" "logboom_spool_segments" "Segments of the spool.";
    SPOOL_SYNCS "counter" "logboom_spool_syncs_total" "Times the spool was synced; one sync covers all that was appended since the last.";
    SPOOL_APPENDED "counter" "logboom_spool_entries_appended_total" "Entries appended to the spool.";
    SPOOL_UNWRITTEN "counter" "logboom_spool_entries_unwritten_total" "Entries appended to the spool that were delivered before they were written, and so never were.";
    SPOOL_STATE "gauge" "logboom_spool_state" "0 where the spool is good, 1 where its disk is full, 2 where it is failing.";
    CONFIG_RELOADS "counter" "logboom_config_reloads_total" "Times a changed configuration came into force or was refused, by outcome.";
    LEDGER_BALANCED "gauge" "logboom_ledger_balanced" "1 where every book of the ledger balances; while records move, a book may be read between two of its entries.";
    PROCESS_MEMORY_BYTES "gauge" "logboom_process_resident_bytes" "Resident memory of the process.";
    PROCESS_ARENA_BYTES "gauge" "logboom_process_arena_bytes" "Bytes of batches in flight, of the memory limit.";
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use crate::telemetry::ledger::{AttemptOutcome, DropReason};

    const PAGE: &str = include_str!("../../../docs/book/metrics.md");

    #[test]
    fn names_follow_the_grammar() {
        for metric in ALL {
            let is_counter = metric.kind == "counter";
            assert!(metric.name.starts_with("logboom_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(ALL.iter().filter(|m| m.name == metric.name).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn every_metric_is_documented() {
        for metric in ALL {
            let row = format!("| `{}` | {} | {} |", metric.name, metric.kind, metric.help);
            assert!(PAGE.contains(&row), "docs/book/metrics.md lacks: {row}");
        }
    }

    /// The words in the first column of the table with this head.
    fn words(head: &str) -> Vec<&'static str> {
        let rows = PAGE.lines().skip_while(|line| !line.starts_with(&format!("| `{head}` |")));
        let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap()).collect()
    }

    #[test]
    fn every_reason_of_a_drop_and_every_outcome_is_documented_and_no_other() {
        assert_eq!(words("reason"), DropReason::ALL.map(DropReason::keyword));
        assert_eq!(words("outcome"), AttemptOutcome::ALL.map(AttemptOutcome::keyword));
    }
}
