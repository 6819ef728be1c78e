#!/bin/bash
# ansible-core and ansible-lint with their libraries, from PyPI, as a tree of its own for this Python.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf usr
"$LAB_PYTHON" -m pip install --quiet --target usr 'ansible-core>=2.19,<2.20' ansible-lint
