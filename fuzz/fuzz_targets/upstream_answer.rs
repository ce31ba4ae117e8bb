//! Whatever an upstream answers, cut anyhow. What has to hold is written in
//! `ekbo/src/upstream/fuzzing.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ekbo::fuzzing::upstream_answer(input));
