#!/usr/bin/env bash
# The source distribution builds without the repository: it is unpacked elsewhere, built and installed in an empty
# environment, and used there. Needs Rust, Python 3.11 or later, and PyPI for maturin. Takes as long as a first build.
#
#   bash bindings/python/sdist.sh
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'maturin>=1.15,<2'
"$work/venv/bin/maturin" sdist --out "$work/dist"
cp examples/*.py "$work"
cd "$work"
sdist=$(echo dist/twolane-*.tar.gz)
tar tzf "$sdist" >files
for file in LICENSE-APACHE LICENSE-MIT README.md; do
    grep -q "/$file\$" files || { echo "the source distribution has no $file" >&2 && exit 1; }
done
rm -rf venv
"${PYTHON:-python3}" -m venv venv
# Nothing of the repository, and no target folder that has it built.
env -u CARGO_TARGET_DIR venv/bin/pip install --quiet "$sdist"
venv/bin/python interactive_node.py --self-test
