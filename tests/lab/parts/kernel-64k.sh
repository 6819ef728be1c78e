#!/bin/bash
# A kernel with pages of 64 KiB.
set -euo pipefail
LAB_VARIANT=kernel-64k.config
# shellcheck source=tests/lab/parts/kernel.sh
. "$LAB_PARTS/kernel.sh"
