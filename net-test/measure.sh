#!/usr/bin/env bash
# Measures all that is published, and writes the tables of README.md and net/SPEED.md and the picture.
#
#   bash net-test/measure.sh                 all of it: some two hours, on a machine that has nothing else to do
#   bash net-test/measure.sh speed python    only these; the others' figures stay as they are
#   bash net-test/measure.sh --try           nothing is measured: whether the programs of net-test take the arguments that stand here
#
#   TWOLANE_ROUNDS=15   how often both sides are measured for a row of speed, heavy and python
#   TWOLANE_LAB_RUNS=5  how often the lab is played
#   TWOLANE_LINKS="--rounds 5"  the links of README's table alone, which take a quarter of an hour and not an hour
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${TWOLANE_ROUNDS:-15} runs=${TWOLANE_LAB_RUNS:-5}
figures=net-test/figures
mkdir -p "$figures" target/figures
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# A program of net-test, as people run it: everything behind `--` is the program's and nothing is cargo's.
program() {
    cargo run --release --quiet --package twolane-test --bin "$1" -- "${@:2}"
}

# In the form that the gate has built already.
if [ "${1:-}" = --try ]; then
    program() {
        "${CARGO_TARGET_DIR:-target}/debug/$1" "${@:2}" --help >/dev/null
    }
    runs=1
fi

# The figures of a run that failed take nobody's place.
measure() {
    local name=$1
    shift
    echo "== $name"
    "$@" >"target/figures/$name.jsonl"
    mv "target/figures/$name.jsonl" "$figures/$name.jsonl"
}

speed() {
    program speed --json --rounds "$rounds"
}

# In the same target folder: crates of others that this workspace uses as well can be reused.
heavy() {
    cargo run --release --quiet --target-dir "${CARGO_TARGET_DIR:-target}" --manifest-path net-test/heavy/Cargo.toml -- --json --rounds "$rounds"
}

lab() {
    for _ in $(seq "$runs"); do
        program speed conditions lab
        # A case that did not hold is a figure too.
        program lab --json || [ $? -eq 1 ]
    done
}

links() {
    program speed conditions links
    # shellcheck disable=SC2086 # Words, as they are given.
    program lab links ${TWOLANE_LINKS:---all} --json || [ $? -eq 1 ]
}

# In an environment of its own, with the package as people install it.
python() {
    local venv=target/figures/venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet ./bindings/python
    "$venv/bin/python" -m twolane.bench --json --rounds "$rounds"
}

if [ "${1:-}" = --try ]; then
    for name in speed lab links; do "$name"; done
    exit
fi
[ $# -gt 0 ] || set -- speed heavy lab links python
for name; do
    case $name in
    speed | heavy | lab | links | python) measure "$name" "$name" ;;
    *) echo "there are speed, heavy, lab, links and python, and no $name" >&2 && exit 2 ;;
    esac
done
program speed figures
