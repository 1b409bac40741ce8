#!/usr/bin/env bash
# Everything that has to hold, in the order in which it fails soonest. Needs Rust and Python; installs the rest.
#
#   bash net-test/test-all.sh          all of it
#   TWOLANE_SKIP_DENY=1 bash ...       without cargo-deny, which takes minutes to install the first time
#   TWOLANE_CHAOS_SEED=N bash ...      the minute of chaos with another seed
set -euo pipefail
cd "$(dirname "$0")/.."

# Tests are full of errors that are expected: a backtrace for each takes longer than the test.
export RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

started=$SECONDS
step() {
    echo "== $1 ($((SECONDS - started)) s)"
    shift
    "$@"
}

components() {
    # Toolchains of rustup's minimal profile come without them.
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 || rustup component add "${tool/fmt/rustfmt}"
    done
}

# What may come in with the dependencies. Built without optimisation: it runs for a second and takes minutes to build.
deny() {
    if [ -n "${TWOLANE_SKIP_DENY:-}" ]; then
        echo "cargo-deny: skipped, since TWOLANE_SKIP_DENY is set"
        return
    fi
    local bin
    if bin=$(command -v cargo-deny); then
        :
    else
        bin=target/tools/bin/cargo-deny
        if [ ! -x "$bin" ]; then
            if ! CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
                CARGO_TARGET_DIR=target/tools/build \
                cargo install --quiet --locked --root target/tools cargo-deny@0.20.2; then
                echo "cargo-deny: skipped, since it cannot be installed here"
                return
            fi
            rm -rf target/tools/build
        fi
    fi
    "$bin" --all-features check bans licenses sources
}

# The advisory database is on the internet. Where that is out of reach the check is skipped, and says so.
advisories() {
    local bin
    bin=$(command -v cargo-deny || echo target/tools/bin/cargo-deny)
    if [ -n "${TWOLANE_SKIP_DENY:-}" ] || [ ! -x "$bin" ]; then
        echo "advisories: skipped, since cargo-deny is not there"
    elif ! timeout 60 "$bin" --all-features fetch db >/dev/null 2>&1; then
        echo "advisories: skipped, since the database cannot be fetched here"
    else
        "$bin" --all-features check advisories
    fi
}

# A workspace of its own, which nobody builds here: what it says of its dependencies.
lock_of() {
    cargo metadata --quiet --locked --format-version 1 --manifest-path "$1" >/dev/null
}

# The lab's tools, from Debian's packages. Who may not install them is told by the lab what is missing.
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
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --all-features --no-deps
}

step "tools" components
step "format" cargo fmt --all --check
step "format of the fuzz targets" cargo fmt --manifest-path net/fuzz/Cargo.toml --check
step "lock file of the fuzz targets" lock_of net/fuzz/Cargo.toml
step "format of the heavy peers" cargo fmt --manifest-path net-test/heavy/Cargo.toml --check
step "lock file of the heavy peers" lock_of net-test/heavy/Cargo.toml
step "clippy" cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
step "clippy, the library of keys without its features" \
    cargo clippy --quiet -p twolane-id --no-default-features --all-targets -- -D warnings
step "docs" docs
step "dependencies" deny
step "advisories" advisories
# Not --lib, which would also make a test of the Python module, and that cannot be linked without Python's library.
step "unit, integration and program tests" cargo test --quiet --workspace --all-features --tests
step "documentation tests" cargo test --quiet --workspace --all-features --doc
# Of the whole workspace, as above: for one package alone its dependencies would be built anew.
TWOLANE_GLARE_ROUNDS=1000 step "1,000 simultaneous dials" \
    cargo test --quiet --workspace --all-features --test scenes -- peers::a_simultaneous_dial
step "the demo, as the README has it" cargo demo -- --json --size 64MiB
step "every behaviour of the two lanes" cargo stream-tester -- run --json
seed=${TWOLANE_CHAOS_SEED:-7}
step "a minute of chaos, seed $seed" cargo stream-tester -- chaos --seed "$seed" --seconds 60 --json
step "tools of the lab" lab_tools
step "real NATs, a relay and bad links" cargo lab -- --json
step "the Python package, as a wheel in a fresh environment" bash bindings/python/test.sh
echo "== all of it held ($((SECONDS - started)) s)"
