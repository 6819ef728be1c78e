#!/bin/bash
# The firmware of QEMU's virt machine, from Debian's source packages.
# Trusted Firmware-A with the SDEI dispatcher (sdei) and without (plain), each
# starting Linux directly, preloaded at 0x60000000 (flash-sdei.bin,
# flash-plain.bin), or UEFI (flash-sdei-uefi.bin, flash-plain-uefi.bin).
# flash-packaged.fd is the archive's UEFI, which runs without EL3.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

if [ ! -f QEMU_EFI.fd ]; then
    fetch_source edk2 edk2
    install=edk2/OvmfPkg/Library/AcpiPlatformLib/QemuFwCfgAcpi.c
    line=$(grep -n '^  Status = AcpiProtocol->InstallAcpiTable (' $install | cut -d: -f1)
    sed -i "$((line - 1))r $LAB_PARTS/uefi-tables.c" $install
    version=$(sed -n '1s/.*(\(.*\)).*/\1/p' edk2/debian/changelog)
    (
        export GCC_AARCH64_PREFIX=aarch64-linux-gnu- PYTHON_COMMAND="$LAB_PYTHON" WORKSPACE="$PWD/edk2"
        cd edk2
        make -C BaseTools -j"$LAB_JOBS"
        aarch64-linux-gnu-gcc -c -fpic BaseTools/Bin/GccLto/liblto-aarch64.s -o BaseTools/Bin/GccLto/liblto-aarch64.a
        set +u
        # shellcheck source=/dev/null
        . ./edksetup.sh
        build -n "$LAB_JOBS" -a AARCH64 -t GCC -p ArmVirtPkg/ArmVirtQemuKernel.dsc -b RELEASE \
            --pcd "gEfiMdeModulePkgTokenSpaceGuid.PcdFirmwareVersionString=L$version\\0"
    )
    cp edk2/Build/ArmVirtQemuKernel-AARCH64/RELEASE_GCC/FV/QEMU_EFI.fd .
    rm -rf edk2 edk2_*
fi

fetch qemu-efi-aarch64:all
dpkg-deb --fsys-tarfile qemu-efi-aarch64_*.deb | tar -xO ./usr/share/qemu-efi-aarch64/QEMU_EFI.fd > flash-packaged.fd

[ -d tf-a ] || fetch_source arm-trusted-firmware tf-a

flash() { # NAME TF-A-OPTION...
    local name=$1
    shift
    make -C tf-a -j"$LAB_JOBS" CROSS_COMPILE=aarch64-linux-gnu- PLAT=qemu DEBUG=0 \
        BUILD_BASE="$PWD/build-$name" QEMU_USE_GIC_DRIVER=QEMU_GICV3 "$@" bl1 fip
    # The reset vector runs bl1 at 0; the platform looks for the package at 256 KiB.
    cp "build-$name/qemu/release/bl1.bin" "flash-$name.bin"
    dd if="build-$name/qemu/release/fip.bin" of="flash-$name.bin" bs=256K seek=1 conv=notrunc status=none
}

linux="ARM_LINUX_KERNEL_AS_BL33=1 PRELOADED_BL33_BASE=0x60000000"
uefi="BL33=$PWD/QEMU_EFI.fd"
sdei="SDEI_SUPPORT=1 EL3_EXCEPTION_HANDLING=1"
# shellcheck disable=SC2086 # several options in one word
{
    flash sdei $sdei $linux
    flash plain $linux
    flash sdei-uefi $sdei "$uefi"
    flash plain-uefi "$uefi"
}
rm -rf tf-a build-* QEMU_EFI.fd arm-trusted-firmware_* ./*.deb
