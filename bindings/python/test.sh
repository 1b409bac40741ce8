#!/usr/bin/env bash
# The Python package: a wheel, in a fresh virtual environment, and everything that has to hold of it. A step of
# net-test/test-all.sh; needs Rust, Python 3.11 or later, and PyPI for the tools. Exits with 77 where those cannot be
# installed.
#
#   bash bindings/python/test.sh                all of it, on what `pip install` builds
#   TWOLANE_GATE=1 bash ...                     with the gate's profile and features, of which most is built already
#   PYTHON=python3.13 bash ...                  with another interpreter
#   TWOLANE_PY_STREAMS=100000 bash ...          the test of memory with more streams (here: 20,000)
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
work=$target/python
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "the Python package needs Python 3.11 or later: $python is older, or is not there (PYTHON=python3.13 names another)" >&2
    exit 1
}

# The virtual environment is fresh, so that nothing of an earlier build is tested.
rm -rf "$work"
"$python" -m venv "$work/venv"
bin=$work/venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK=1
if ! "$bin/pip" install --quiet -r requirements-test.txt; then
    echo "the tools of the Python package cannot be installed from PyPI here" >&2
    exit 77
fi
profile=release
if [ -n "${TWOLANE_GATE:-}" ]; then
    profile=dev
    export MATURIN_PEP517_ARGS="--profile dev --features gate"
fi
# What `pip install ./bindings/python` does, with the wheel kept.
CARGO_TARGET_DIR=$target "$bin/pip" wheel --quiet --no-deps --wheel-dir "$work/wheels" .
"$bin/pip" install --quiet --no-deps "$work"/wheels/twolane-*.whl
if [ -z "${TWOLANE_GATE:-}" ]; then
    CARGO_TARGET_DIR=$target cargo build --quiet --release --package twolane-cli --bin receiver --bin sender
    CARGO_TARGET_DIR=$target cargo build --quiet --release --package twolane-test --bin stream-tester
fi
export TWOLANE_BINARIES=$target/${profile/dev/debug}
export TWOLANE_PY_STREAMS=${TWOLANE_PY_STREAMS:-20000}
# Each thread's arena keeps what was freed in it, which is not what the test of memory is about.
export MALLOC_ARENA_MAX=2

"$bin/python" examples/interactive_node.py --self-test >/dev/null
"$bin/python" -m pytest --quiet
# In a folder without the sources: what is checked is what was installed.
cp mypy.ini "$work/mypy.ini"
(cd "$work" && "$bin/python" -m mypy.stubtest twolane --mypy-config-file mypy.ini)
"$bin/mypy" --config-file mypy.ini examples
(cd tests && "$bin/mypy" --config-file ../mypy.ini .)
"$bin/python" -m twolane.bench --rounds 1 --seconds 0.1
