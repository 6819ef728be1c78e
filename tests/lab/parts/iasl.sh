#!/bin/bash
# The iasl of trixie, with its libraries, as a tree of its own: it knows the
# tables SDEI and AGDI, whatever this machine's own iasl knows.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf root usr
mmdebstrap --variant=extract --architectures=amd64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --include=acpica-tools,libc6 trixie root "$LAB_SOURCES"
mkdir -p usr/bin
mv root/usr/bin/iasl usr/bin
mv root/usr/lib root/usr/lib64 usr
rm -rf root
