#!/bin/bash
# Debian 11, whose Python 3.9 is the oldest that sdeictl supports.
set -euo pipefail
LAB_SUITE=bullseye
# shellcheck source=tests/lab/parts/python.sh
. "$LAB_PARTS/python.sh"
