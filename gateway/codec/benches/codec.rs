//! Framing, decoding and encoding over the corpora of `testdata/`: time and allocations a message.
//!
//! ```text
//! cargo bench -p logboom-codec
//! ```

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use logboom_codec::decode::{Decoder, Format, Mode};
use logboom_codec::encode::{WireFormat, WireFraming, framed, json};
use logboom_codec::framing::{Frame, Framer, Framing, Oversize};
use logboom_record::{Batch, Span, UnixNanos};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// 21 November 2026.
const RECEIVED: UnixNanos = UnixNanos(1_795_240_000_000_000_000);
const MESSAGES: usize = 256;
const CORPORA: [(&str, &[u8]); 5] = [
    ("minimal", include_bytes!("../testdata/minimal.txt")),
    ("average", include_bytes!("../testdata/average.txt")),
    ("long", include_bytes!("../testdata/long.txt")),
    ("maximal", include_bytes!("../testdata/maximal.txt")),
    ("rfc3164", include_bytes!("../testdata/rfc3164.txt")),
];
const NAMES: [&str; 5] = ["minimal", "average", "long", "maximal", "rfc3164"];

fn main() {
    divan::main();
}

fn corpus(name: &str) -> &'static [u8] {
    let found = CORPORA.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes).unwrap_or_default()
}

/// A batch of one corpus, over and over, and where its frames lie.
fn batch(name: &str) -> (Batch, Vec<Span>) {
    let message = corpus(name);
    let arena = message.repeat(MESSAGES);
    let len = message.len();
    let spans: Vec<Span> = (0..MESSAGES).map(|n| Span::new(n * len, (n + 1) * len)).collect();
    let decoder = Decoder::new(Format::Auto, Mode::BestEffort);
    let heads: Vec<_> =
        spans.iter().filter_map(|span| decoder.decode(&arena, *span, RECEIVED).ok()).collect();
    let mut batch = Batch::new(arena, RECEIVED);
    heads.iter().for_each(|head| batch.push(head));
    (batch, spans)
}

/// 256 messages, heads packed into a table of rows as a source does it.
#[divan::bench(args = NAMES)]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let (batch, spans) = batch(name);
    let arena = batch.arena();
    let decoder = Decoder::new(Format::Auto, Mode::BestEffort);
    let mut rows: Vec<u32> = Vec::with_capacity(MESSAGES * logboom_record::STRIDE);
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(arena.len())).bench_local(
        || {
            rows.clear();
            for span in &spans {
                if let Ok(head) = decoder.decode(black_box(arena), *span, RECEIVED) {
                    rows.extend_from_slice(&head.pack());
                }
            }
            rows.len()
        },
    );
}

#[divan::bench(args = ["octet", "lf", "nul", "auto"])]
fn frame(bencher: Bencher<'_, '_>, framing: &str) {
    let message = corpus("average");
    let mut stream = Vec::new();
    for _ in 0..MESSAGES {
        if matches!(framing, "octet" | "auto") {
            stream.extend_from_slice(format!("{} ", message.len()).as_bytes());
        }
        stream.extend_from_slice(message);
        match framing {
            "lf" => stream.push(b'\n'),
            "nul" => stream.push(0),
            _ => {}
        }
    }
    let framing: Framing = framing.parse().unwrap_or(Framing::Auto);
    let mut frames: Vec<Frame> = Vec::with_capacity(MESSAGES);
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(stream.len())).bench_local(
        || {
            frames.clear();
            let mut framer = Framer::new(framing, 65_536, Oversize::Truncate);
            let consumed = framer.cut(black_box(&stream), 0, &mut frames, usize::MAX);
            assert_eq!((consumed, frames.len()), (Ok(stream.len()), MESSAGES));
        },
    );
}

#[divan::bench(args = ["octet", "lf"])]
fn encode_verbatim(bencher: Bencher<'_, '_>, framing: &str) {
    encode(bencher, "average", WireFormat::Rfc5424, framing);
}

#[divan::bench(args = ["octet", "lf"])]
fn encode_3164_as_5424(bencher: Bencher<'_, '_>, framing: &str) {
    encode(bencher, "rfc3164", WireFormat::Rfc5424, framing);
}

#[divan::bench(args = ["octet", "lf"])]
fn encode_5424_as_3164(bencher: Bencher<'_, '_>, framing: &str) {
    encode(bencher, "average", WireFormat::Rfc3164, framing);
}

fn encode(bencher: Bencher<'_, '_>, name: &str, format: WireFormat, framing: &str) {
    let (batch, _) = batch(name);
    let framing: WireFraming = framing.parse().unwrap_or_default();
    let mut out = Vec::with_capacity(batch.arena().len() * 2);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .counter(BytesCount::new(batch.arena().len()))
        .bench_local(|| {
            out.clear();
            for record in black_box(&batch).records() {
                framed(format, framing, &record, &mut out);
            }
            out.len()
        });
}

#[divan::bench(args = NAMES)]
fn encode_json(bencher: Bencher<'_, '_>, name: &str) {
    let (batch, _) = batch(name);
    let mut out = Vec::with_capacity(batch.arena().len() * 4 + MESSAGES * 512);
    let name: Arc<str> = "field".into();
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .counter(BytesCount::new(batch.arena().len()))
        .bench_local(|| {
            out.clear();
            for record in black_box(&batch).records() {
                json(&record, "edge", &mut |_| Some(Arc::clone(&name)), &mut out);
                out.push(b'\n');
            }
            out.len()
        });
}
