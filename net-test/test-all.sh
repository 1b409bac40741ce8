#!/usr/bin/env bash
# Runs all checks, in the order in which they fail soonest. Needs Rust and Python, and installs everything else.
#
#   bash net-test/test-all.sh                    runs all steps
#   bash net-test/test-all.sh clippy lab         runs only these steps
#   bash net-test/test-all.sh --list             lists the names of the steps
#
#   TWOLANE_CHAOS_SEED=N                         the seed of the minute of chaos
#   TWOLANE_ALLOW_SKIP="dependencies lab"        these steps may be skipped, even with CI=true
#
# A step that this machine cannot run is skipped. The last line names it. With CI=true a skipped step is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tests make many expected errors, and a backtrace for each would take longer than the test.
export RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# A single build needs no incremental data: it takes 2 GB, and a tenth of the build time.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

target=${CARGO_TARGET_DIR:-target}

# name : function : sentence
steps=(
    "format:format:format"
    "locks:locks:lock files"
    "clippy:clippy:lints"
    "heavy:heavy:the heavy peers compile, without a warning"
    "fuzz:fuzz:the fuzz targets compile, without a warning"
    "docs:docs:documentation, without a warning"
    "dependencies:dependencies:licences, bans and sources of the dependencies"
    "packages:packages:the packages have what they need"
    "tests:tests:unit, integration and program tests"
    "doc-tests:doc_tests:documentation tests"
    "demo:demo:the demo, as the README has it"
    "measure:measure:what is measured can be asked for"
    "speed:speed:requests, beside raw iroh"
    "behaviours:behaviours:every behaviour of the two lanes"
    "hostile:hostile:hostile peers"
    "chaos:chaos:a minute of chaos"
    "leaks:leaks:a minute of leaks"
    "lab:lab:real NATs, a relay and bad links"
    "links:links:one link, beside raw iroh"
    "python:python_package:the Python package, as a wheel in a fresh environment"
)

format() {
    cargo fmt --all --check
    cargo fmt --manifest-path net/fuzz/Cargo.toml --check
    cargo fmt --manifest-path net-test/heavy/Cargo.toml --check
}

# The lock files of all workspaces.
locks() {
    for manifest in Cargo.toml net/fuzz/Cargo.toml net-test/heavy/Cargo.toml; do
        cargo metadata --quiet --locked --format-version 1 --manifest-path "$manifest" >/dev/null
    done
}

clippy() {
    cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
    # Without the default features: only keys, and the programs that `cargo demo` builds.
    cargo clippy --quiet -p twolane-id --no-default-features --all-targets -- -D warnings
    cargo clippy --quiet -p twolane-cli --no-default-features --lib --bins -- -D warnings
}

# In the same target folder and with the same features, so that crates that both workspaces use are not compiled
# again.
heavy() {
    cargo clippy --quiet --locked --all-targets --target-dir "$target" --manifest-path net-test/heavy/Cargo.toml -- -D warnings
}

fuzz() {
    cargo clippy --quiet --locked --features gate --target-dir "$target" --manifest-path net/fuzz/Cargo.toml -- -D warnings
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --all-features --no-deps
}

# cargo-deny is built without optimisation, because it runs for a second and takes minutes to build.
dependencies() {
    local bin version=0.20.2
    bin=$target/tools/bin/cargo-deny
    if [ ! -x "$bin" ] && ! CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$target/tools/build \
        cargo install --quiet --locked --root "$target/tools" "cargo-deny@$version"; then
        skip "cargo-deny $version cannot be installed here"
        return
    fi
    rm -rf "$target/tools/build"
    for manifest in Cargo.toml net/fuzz/Cargo.toml net-test/heavy/Cargo.toml; do
        "$bin" --config deny.toml --manifest-path "$manifest" --all-features --locked check bans licenses sources
    done
}

packages() {
    cargo package --quiet --locked --no-verify --allow-dirty -p twolane-id -p twolane
}

# Not --lib, which would also build a test of the Python module. That test cannot be linked without Python's library. Two tests run
# for each processor, because most of them wait for time to pass.
tests() {
    local processors
    processors=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * processors))} TWOLANE_GLARE_ROUNDS=1000 TWOLANE_FUZZ_SECONDS=5 \
        cargo test --quiet --workspace --all-features --tests
}

doc_tests() {
    cargo test --quiet --workspace --all-features --doc
}

demo() {
    cargo demo -- --json --size 64MiB
}

# Runs a program in the build of the tests. It exists already, unless this step runs alone.
program() {
    cargo test --quiet --workspace --all-features --tests --no-run
    "$target/debug/$1" "${@:2}"
}

measure() {
    program speed --help >/dev/null
    bash net-test/measure.sh --try
}

# With a debug build, in which twolane has 0.5 to 1.2 of raw iroh's rates. With a fault by which connections kept the credit that
# lanes had borrowed, it was 0.15 after some hundred requests of 64 KiB.
speed() {
    judged speed --only requests --rounds 3 --at-least 0.4
}

behaviours() {
    program stream-tester run --json
}

hostile() {
    judged stream-tester hostile
}

chaos() {
    program stream-tester chaos --seed "${TWOLANE_CHAOS_SEED:-7}" --seconds 60 --json
}

leaks() {
    program stream-tester leaks --cycles 1000 --json
}

# Installs the lab's tools from Debian's packages. If the user may not install them, the lab reports what is missing.
lab_tools() {
    local packages=()
    for tool in ip:iproute2 nft:nftables nsenter:util-linux; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${tool%%:*}" >/dev/null || packages+=("${tool##*:}")
    done
    if [ ${#packages[@]} -eq 0 ]; then
        return
    fi
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "to be installed for the lab: ${packages[*]}"
        return
    fi
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; } ||
        echo "the lab's tools cannot be installed here: ${packages[*]}"
}

# Runs a program that prints verdicts, and a summary of them as its last line. A verdict is void if the machine was too busy. Then
# the program runs again, at most twice. If verdicts are still void, or this machine cannot run a case, the step is skipped.
judged() {
    local log code summary failed void skipped
    log=$(mktemp)
    for _ in 1 2 3; do
        code=0
        # The end of this script decides whether a skip is a failure.
        CI='' program "$@" --json >"$log" || code=$?
        cat "$log"
        summary='import json, sys; s = json.load(sys.stdin); print(s["failed"], s.get("void", 0), s.get("skipped", 0))'
        read -r failed void skipped < <(tail -n 1 "$log" | python3 -c "$summary") || return 1
        if [ "$failed" != 0 ] || { [ "$code" != 0 ] && [ "$void" = 0 ]; }; then
            return 1
        fi
        [ "$void" != 0 ] || break
    done
    rm -f "$log"
    if [ "$void" != 0 ]; then
        skip "$void verdicts are void three times: the machine is busy"
    elif [ "$skipped" != 0 ]; then
        skip "$skipped verdicts, for the reasons above"
    fi
}

lab() {
    lab_tools
    judged lab
}

# At 500 Mbit/s, up to 13 % of the packets were late on a slow machine in a debug build, and no row was judged.
links() {
    lab_tools
    judged lab links --only 20ms-100mbit --rounds 1 --seconds 3
}

python_package() {
    local code=0
    TWOLANE_GATE=1 bash bindings/python/test.sh || code=$?
    if [ "$code" = 77 ]; then
        skip "its tools cannot be installed here"
    elif [ "$code" != 0 ]; then
        return "$code"
    fi
}

names() {
    for entry in "${steps[@]}"; do
        printf '%-14s %s\n' "${entry%%:*}" "${entry##*:}"
    done
}

if [ "${1:-}" = --list ]; then
    names
    exit
fi
for wanted in "$@"; do
    if ! names | grep -q "^$wanted "; then
        echo "there is no step '$wanted': these are" >&2
        names >&2
        exit 2
    fi
done

# Reports that a step is skipped, once, with its reason.
skips=()
skip() {
    echo "-- skipped: $current: $1"
    skips+=("$current")
}

played=0
times=()
current=
trap 'code=$?; [ "$code" = 0 ] || [ "$code" = 3 ] || echo "== failed: $current ($SECONDS s)"' EXIT
for entry in "${steps[@]}"; do
    IFS=: read -r current run sentence <<<"$entry"
    if [ $# -gt 0 ] && [[ " $* " != *" $current "* ]]; then
        continue
    fi
    began=$SECONDS
    echo "== $current: $sentence ($began s)"
    "$run"
    played=$((played + 1))
    times+=("$(printf '%5d s  %s' $((SECONDS - began)) "$current")")
done

printf '%s\n' "${times[@]}"
of=$([ $# -eq 0 ] && echo "all ${#steps[@]} steps" || echo "$played of ${#steps[@]} steps")
refused=()
for name in "${skips[@]}"; do
    if [ "${CI:-}" = true ] && [[ " ${TWOLANE_ALLOW_SKIP:-} " != *" $name "* ]]; then
        refused+=("$name")
    fi
done
if [ ${#refused[@]} -gt 0 ]; then
    echo "== failed: with CI=true nothing may be skipped, and these were: ${refused[*]} ($of, $SECONDS s)"
    exit 3
elif [ ${#skips[@]} -gt 0 ]; then
    echo "== held, but for what was skipped: ${skips[*]} ($of, $SECONDS s)"
else
    echo "== all of it held ($of, $SECONDS s)"
fi
