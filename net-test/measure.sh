#!/usr/bin/env bash
# Measures all figures that are published, and writes the tables of README.md and net/SPEED.md and the picture.
#
#   bash net-test/measure.sh                 measures everything: about two hours, on a machine without other work
#   bash net-test/measure.sh speed python    measures only these; the figures of the others stay as they are
#   bash net-test/measure.sh --try           measures nothing; checks that the programs of net-test accept the arguments below
#
#   TWOLANE_ROUNDS=15   the number of measurements of both sides for a row of speed, heavy and python
#   TWOLANE_LAB_RUNS=5  the number of runs of the lab
#   TWOLANE_LINKS="--rounds 5"  measures only the links of README's table, in a quarter of an hour instead of an hour
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${TWOLANE_ROUNDS:-15} runs=${TWOLANE_LAB_RUNS:-5}
figures=net-test/figures
mkdir -p "$figures" target/figures
export RUST_BACKTRACE=0 CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

# Runs a program of net-test as users do: the arguments after `--` are for the program, and not for cargo.
program() {
    cargo run --release --quiet --package twolane-test --bin "$1" -- "${@:2}"
}

# Uses the debug build that test-all.sh has made already.
if [ "${1:-}" = --try ]; then
    program() {
        "${CARGO_TARGET_DIR:-target}/debug/$1" "${@:2}" --help >/dev/null
    }
    runs=1
fi

# The figures of a run that failed do not replace earlier figures.
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

# In the same target folder, so that dependencies that both workspaces use can be reused.
heavy() {
    cargo run --release --quiet --target-dir "${CARGO_TARGET_DIR:-target}" --manifest-path net-test/heavy/Cargo.toml -- --json --rounds "$rounds"
}

lab() {
    for _ in $(seq "$runs"); do
        program speed conditions lab
        # A case that did not hold also counts as a figure.
        program lab --json || [ $? -eq 1 ]
    done
}

links() {
    program speed conditions links
    # shellcheck disable=SC2086 # The words are separate arguments.
    program lab links ${TWOLANE_LINKS:---all} --json || [ $? -eq 1 ]
}

# In a virtual environment, with the package as users install it, and the work of twolane in Rust besides.
python() {
    local venv=target/figures/venv
    python3 -m venv "$venv"
    MATURIN_PEP517_ARGS="--features bench" "$venv/bin/pip" install --quiet --force-reinstall ./bindings/python
    "$venv/bin/python" bindings/python/bench --json --rounds "$rounds"
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
