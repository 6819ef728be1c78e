#!/bin/bash
# The emulator of trixie-backports, with its libraries, as a tree of its own, whatever
# this machine's own QEMU can: it emulates FEAT_NMI (since QEMU 9.1), and a crash kernel
# that an interrupt handler started gets interrupts (in QEMU 7.2 it does not).
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf root usr
mmdebstrap --variant=extract --architectures=amd64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --aptopt='APT::Default-Release "trixie-backports"' --include=qemu-system-arm,libc6 trixie root "$LAB_SOURCES"
# only this: device files and the like are no files to keep
mkdir -p usr/bin usr/share
mv root/usr/bin/qemu-system-aarch64 usr/bin
mv root/usr/share/qemu usr/share
mv root/usr/lib root/usr/lib64 usr
rm -rf root
