#!/bin/bash
# Trusted Firmware-A for QEMU's virt machine, built twice from Debian's source
# package: flash-sdei.bin with the SDEI dispatcher, flash-plain.bin without.
# Both start Linux directly (no UEFI): the kernel is preloaded at 0x60000000.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

[ -d tf-a ] || fetch_source arm-trusted-firmware tf-a

flash() { # NAME TF-A-OPTION...
    local name=$1
    shift
    make -C tf-a -j"$LAB_JOBS" CROSS_COMPILE=aarch64-linux-gnu- PLAT=qemu DEBUG=0 \
        BUILD_BASE="$PWD/build-$name" QEMU_USE_GIC_DRIVER=QEMU_GICV3 \
        ARM_LINUX_KERNEL_AS_BL33=1 PRELOADED_BL33_BASE=0x60000000 "$@" bl1 fip
    # The reset vector runs bl1 at 0; the platform looks for the package at 256 KiB.
    cp "build-$name/qemu/release/bl1.bin" "flash-$name.bin"
    dd if="build-$name/qemu/release/fip.bin" of="flash-$name.bin" bs=256K seek=1 conv=notrunc status=none
}

flash sdei SDEI_SUPPORT=1 EL3_EXCEPTION_HANDLING=1
flash plain
rm -rf tf-a build-* ./*.tar.xz ./*.dsc
