#!/bin/bash
# Debian 13, the newest that the README's commands are tried on.
set -euo pipefail
LAB_SUITE=trixie
# shellcheck source=tests/lab/parts/python.sh
. "$LAB_PARTS/python.sh"
