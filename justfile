# Shortcuts for what is done often. Each is a line or two: `just` itself is optional.

# list the recipes
default:
    @just --list

# format everything
fmt:
    cargo fmt --all

# clippy as the checks run it, with and without the default features
lint:
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --workspace --all-targets --no-default-features -- -D warnings

# tests; `just test -p kuiperbelt` for one crate
test *arguments="--workspace":
    cargo test {{ arguments }}

# documentation, with broken links as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Autobahn against the echo example; `just autobahn 6 7` for some sections, `--all` for every one
autobahn *sections:
    script/autobahn {{ sections }}

# the release build beside other servers, in a table; `just bench --quick --scenario fanout`
bench *arguments:
    cargo build --release -p ekbo -p bench
    target/release/bench {{ arguments }}

# micro-benchmarks of the two libraries; `just micro encode` for those with that in their name
micro *arguments:
    cargo bench -p kuiperbelt-websocket -p kuiperbelt -- {{ arguments }}

# instructions of the hot paths, by callgrind; `--record` writes bench/instructions.md
instructions *arguments:
    cargo build --release -p ekbo -p bench
    target/release/bench instructions {{ arguments }}

# A single allocation of 16 MB is more than any input is worth.
# feed a decoder with what a fuzzer makes up, for so many seconds; `just fuzz upstream_answer 300`
fuzz target="zmtp" seconds="60":
    @cargo fuzz --version >/dev/null 2>&1 || \
        { echo "cargo fuzz is missing: cargo install --locked cargo-fuzz; it wants a C++ compiler" >&2; exit 1; }
    mkdir -p fuzz/corpus/{{ target }}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- \
        -max_total_time={{ seconds }} -timeout=10 -malloc_limit_mb=16

# the chat, on http://127.0.0.1:9180/
demo:
    cargo run -p ekbo -- demo

# everything, as continuous integration does; installs what is missing
check:
    script/test
