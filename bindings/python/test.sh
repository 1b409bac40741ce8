#!/usr/bin/env bash
# The Python package: a wheel, in fresh virtual environments, and everything that has to hold of it. A step of
# net-test/test-all.sh; needs Rust, Python 3.11 or later, and PyPI for the tools. Exits with 77 where those cannot be
# installed.
#
#   bash bindings/python/test.sh                with the oldest and the newest interpreter that is there
#   TWOLANE_GATE=1 bash ...                     with the gate's profile and features, of which most is built already
#   PYTHON=python3.13 bash ...                  with this interpreter alone
#   TWOLANE_PY_STREAMS=100000 bash ...          the test of memory with more streams (here: 20,000)
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
work=$target/python

# Returns whether a command is an interpreter that is new enough. A version manager may have names of versions that it
# does not have.
usable() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

pythons=()
if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && pythons=("$PYTHON")
else
    there=()
    for version in 3.11 3.12 3.13 3.14; do
        usable "python$version" && there+=("python$version")
    done
    [ ${#there[@]} -gt 0 ] || { usable python3 && there=(python3); }
    # The same one, if there is only one.
    [ ${#there[@]} -gt 0 ] && mapfile -t pythons < <(printf '%s\n' "${there[0]}" "${there[-1]}" | uniq)
fi
if [ ${#pythons[@]} -eq 0 ]; then
    echo "the Python package needs Python 3.11 or later: ${PYTHON:-python3} is older, or is not there (PYTHON=python3.13 names another)" >&2
    exit 1
fi

# The virtual environments are fresh, so that nothing of an earlier build is tested.
rm -rf "$work"
export PIP_DISABLE_PIP_VERSION_CHECK=1
for python in "${pythons[@]}"; do
    "$python" -m venv "$work/$python"
    if ! "$work/$python/bin/pip" install --quiet -r requirements-test.txt; then
        echo "the tools of the Python package cannot be installed from PyPI here" >&2
        exit 77
    fi
done
bin=$work/${pythons[-1]}/bin
if ! "$bin/pip" install --quiet -r requirements-docs.txt; then
    echo "what builds the documentation cannot be installed from PyPI here" >&2
    exit 77
fi

# What `pip install ./bindings/python` does, with the wheel kept. It serves all versions.
profile=release
if [ -n "${TWOLANE_GATE:-}" ]; then
    profile=dev
    export MATURIN_PEP517_ARGS="--profile dev --features gate,bench"
fi
CARGO_TARGET_DIR=$target "$bin/pip" wheel --quiet --no-deps --wheel-dir "$work/wheels" .
wheels=("$work"/wheels/twolane-*.whl)
du -h "${wheels[0]}"
if [ -z "${TWOLANE_GATE:-}" ]; then
    CARGO_TARGET_DIR=$target cargo build --quiet --release --package twolane-cli --bin receiver --bin sender
    CARGO_TARGET_DIR=$target cargo build --quiet --release --package twolane-test --bin stream-tester
    # No wheel has a benchmark, nor an operation that panics.
    "$bin/python" -m zipfile --list "${wheels[0]}" | { ! grep bench; }
fi
export TWOLANE_BINARIES=$target/${profile/dev/debug}
export TWOLANE_PY_STREAMS=${TWOLANE_PY_STREAMS:-20000}
# Each thread's arena keeps what was freed in it, which is not what the test of memory is about.
export MALLOC_ARENA_MAX=2

"$bin/ruff" check .
for python in "${pythons[@]}"; do
    bin=$work/$python/bin
    "$bin/python" --version
    "$bin/pip" install --quiet --no-deps "${wheels[0]}"
    "$bin/python" -X dev -W error examples/interactive_node.py --self-test >/dev/null
    "$bin/python" -X dev -W error -m pytest --quiet
    # In a folder without the sources: what is checked is what was installed.
    cp mypy.ini "$work/mypy.ini"
    (cd "$work" && "$bin/python" -m mypy.stubtest twolane --mypy-config-file mypy.ini)
    "$bin/mypy" --config-file mypy.ini examples
    (cd tests && MYPYPATH=../bench:../examples "$bin/mypy" --config-file ../mypy.ini .)
    "$bin/pyright" --pythonpath "$bin/python" python/twolane examples
    "$bin/python" bench --rounds 1 --seconds 0.1
done
"$bin/mkdocs" build --quiet --strict --site-dir "$work/site"
