#!/usr/bin/env bash
# Measures all that is published, and writes the tables of README.md and net/SPEED.md and the picture.
#
#   bash net-test/measure.sh                 all of it: some two hours, on a machine that has nothing else to do
#   bash net-test/measure.sh speed python    only these; the others' figures stay as they are
#
#   TWOLANE_ROUNDS=15   how often both sides are measured for a row of speed and heavy
#   TWOLANE_LAB_RUNS=5  how often the lab is played
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${TWOLANE_ROUNDS:-15} runs=${TWOLANE_LAB_RUNS:-5}
figures=net-test/figures
mkdir -p "$figures" target/figures
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# The figures of a run that failed take nobody's place.
measure() {
    local name=$1
    shift
    echo "== $name"
    "$@" >"target/figures/$name.jsonl"
    mv "target/figures/$name.jsonl" "$figures/$name.jsonl"
}

lab() {
    cargo build --release --quiet --package twolane-test --bins
    for _ in $(seq "$runs"); do
        cargo speed conditions lab
        # A case that did not hold is a figure too.
        cargo lab --json || [ $? -eq 1 ]
    done
}

links() {
    cargo speed conditions links
    cargo lab links --all --json || [ $? -eq 1 ]
}

# In an environment of its own, with the package as people install it.
python() {
    local venv=target/figures/venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet ./bindings/python
    "$venv/bin/python" -m twolane.bench --json --rounds "$rounds"
}

[ $# -gt 0 ] || set -- speed heavy links lab python
for name; do
    case $name in
    speed) measure speed cargo speed --json --rounds "$rounds" ;;
    heavy) measure heavy cargo run --release --quiet --manifest-path net-test/heavy/Cargo.toml -- --json --rounds "$rounds" ;;
    links | lab | python) measure "$name" "$name" ;;
    *) echo "there are speed, heavy, links, lab and python, and no $name" >&2 && exit 2 ;;
    esac
done
cargo speed figures
