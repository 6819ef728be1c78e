#!/bin/bash
# A kernel that reads ACPI but not what asks for SDEI there.
set -euo pipefail
LAB_VARIANT=kernel-no-ghes.config
# shellcheck source=tests/lab/parts/kernel.sh
. "$LAB_PARTS/kernel.sh"
