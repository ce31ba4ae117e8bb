//! The ZMTP decoder under whatever a peer sends, cut anyhow. What has to hold is written in
//! `ekbo/src/zmtp/fuzzing.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ekbo::fuzzing::zmtp(input));
