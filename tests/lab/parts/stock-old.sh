#!/bin/bash
# The archive's stable kernel, older than the SDEI cross-CPU NMI.
set -euo pipefail
LAB_SERIES=6.12
# shellcheck source=tests/lab/parts/stock.sh
. "$LAB_PARTS/stock.sh"
