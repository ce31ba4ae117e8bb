//! What frames cost without any socket: decoding, unmasking, UTF-8, encoding, compression.
//!
//! Clients' frames are masked with a key of zeros: they are xored like any other, but stay as they
//! are and can be decoded again without a copy that would be measured too.

use std::hint::black_box;

use bytes::{BufMut as _, Bytes};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use kuiperbelt_websocket::{Decoder, Deflate, Event, Kind, encode, encode_deflated};

const MAX_MESSAGE: usize = 1 << 20;
const SMALL: usize = 128;
const LARGE: usize = 64 * 1024;
/// As much as one read brings of a large message.
const PIECE: usize = 4 * 1024;

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

criterion_group!(benches, decoding, utf8, unmasking, encoding, compression);
criterion_main!(benches);

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let small = client_frame(FIN | TEXT, &ascii(SMALL));
    for count in [1, 16] {
        let mut read = small.repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} texts of 128 B in one read"), |bencher| {
            let mut decoder = Decoder::new(MAX_MESSAGE);
            bencher.iter(|| assert_eq!(messages(&mut decoder, &mut read), count));
        });
    }
    let mut large = client_frame(FIN | BINARY, &ascii(LARGE));
    group.throughput(Throughput::Bytes(LARGE as u64));
    group.bench_function("binary of 64 KiB in reads of 4 KiB", |bencher| {
        let mut decoder = Decoder::new(MAX_MESSAGE);
        bencher.iter(|| {
            let seen: usize =
                large.chunks_mut(PIECE).map(|read| messages(&mut decoder, read)).sum();
            assert_eq!(seen, 1);
        });
    });
    group.finish();
}

/// Texts that arrive whole, beside binary messages, which are all the same but not checked.
fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode whole");
    for size in [SMALL, LARGE] {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, opcode, payload) in [
            ("binary", BINARY, ascii(size)),
            ("text, ASCII", TEXT, ascii(size)),
            ("text, mixed", TEXT, mixed(size)),
        ] {
            let mut read = client_frame(FIN | opcode, &payload);
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let mut decoder = Decoder::new(MAX_MESSAGE);
                bencher.iter(|| assert_eq!(messages(&mut decoder, &mut read), 1));
            });
        }
    }
    group.finish();
}

/// What is read to its place: nothing is left to do but to unmask it there.
fn unmasking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask in place");
    for size in [PIECE, LARGE] {
        let frame = client_frame(FIN | BINARY, &ascii(size));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched_ref(
                || all_but_unmasked(&frame, size),
                |decoder| match decoder.lent() {
                    Ok(Some(event)) => event,
                    other => panic!("no message but {other:?}"),
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in [SMALL, LARGE] {
        let payload = ascii(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| encode(Kind::Text, black_box(&payload)));
        });
    }
    group.finish();
}

fn compression(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permessage-deflate, 1 KiB of JSON");
    let (payload, deflate) = (json(1024), negotiated());
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode_deflated(Kind::Text, black_box(&payload), deflate));
    });
    let frame = encode_deflated(Kind::Text, &payload, deflate).expect("JSON becomes smaller");
    let mut read = client_frame(FIN | COMPRESSED | TEXT, payload_of(&frame));
    group.bench_function("decode", |bencher| {
        let mut decoder = Decoder::new(MAX_MESSAGE).inflating();
        bencher.iter(|| assert_eq!(messages(&mut decoder, &mut read), 1));
    });
    group.finish();
}

/// How many messages the decoder finds in what was read.
fn messages(decoder: &mut Decoder, read: &mut [u8]) -> usize {
    let (mut rest, mut count) = (read, 0);
    while let Some(event) = decoder.decode(&mut rest).expect("the frames are in order") {
        match black_box(event) {
            Event::Message(..) => count += 1,
            other => panic!("no message but {other:?}"),
        }
    }
    count
}

/// A decoder that has the header, and the payload in the place that it lent for it.
fn all_but_unmasked(frame: &[u8], size: usize) -> Decoder {
    let mut decoder = Decoder::new(MAX_MESSAGE);
    let (header, mut payload) = frame.split_at(frame.len() - size);
    assert_eq!(messages(&mut decoder, &mut header.to_vec()), 0);
    while !payload.is_empty() {
        let mut place = decoder.lend().expect("a large payload is worth lending for");
        let fits = place.remaining_mut().min(payload.len());
        place.put_slice(&payload[..fits]);
        payload = &payload[fits..];
    }
    decoder
}

/// A frame as clients send it, masked with zeros.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(MASKED | length as u8),
        length @ ..0x1_0000 => {
            frame.push(MASKED | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The payload of a server's frame.
fn payload_of(frame: &Bytes) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    }
}

fn ascii(size: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog, ".iter().copied().cycle().take(size).collect()
}

/// Characters of one to four bytes, filled up with spaces.
fn mixed(size: usize) -> Vec<u8> {
    let mut text = String::new();
    for word in ["kuiper ", "gürtel ", "пояс ", "カイパー", "🪐 "].iter().cycle() {
        if text.len() + word.len() > size {
            break;
        }
        text.push_str(word);
    }
    text.push_str(&" ".repeat(size - text.len()));
    text.into_bytes()
}

/// Entries that differ in their numbers, cut to `size`.
fn json(size: usize) -> Vec<u8> {
    let entries = (0..).flat_map(|n: u32| {
        let entry = format!(
            r#"{{"id":{},"user":"user-{}","text":"message number {n}","likes":{}}},"#,
            n * 7919,
            n * 31 % 97,
            n % 13
        );
        entry.into_bytes()
    });
    entries.take(size).collect()
}

/// As browsers offer it: a window of 32 KiB.
fn negotiated() -> Deflate {
    let mut headers = HeaderMap::new();
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    headers.insert(SEC_WEBSOCKET_EXTENSIONS, offer);
    Deflate::negotiate(&headers).expect("the offer is acceptable").0
}
