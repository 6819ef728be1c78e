#!/bin/bash
# Linux 7.3 from Debian's source package, cross-built for the lab:
# Image, config, version and modules.tar.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

if [ ! -f unpacked ]; then
    fetch linux-source-7.3
    dpkg-deb --fsys-tarfile linux-source-7.3_*.deb | tar -xO ./usr/src/linux-source-7.3.tar.xz > source.tar.xz
    rm -f linux-source-7.3_*.deb
    rm -rf linux && mkdir linux
    tar -xJf source.tar.xz -C linux --strip-components=1
    rm source.tar.xz
    touch unpacked
fi

# the builder's name and clock are no part of the kernel's log
export KBUILD_BUILD_USER=sdeictl KBUILD_BUILD_HOST=lab KBUILD_BUILD_TIMESTAMP='1970-01-01'
build() { make -C linux -j"$LAB_JOBS" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- "$@"; }

build KCONFIG_ALLCONFIG="$LAB_PARTS/kernel.config" allnoconfig
dropped=$(grep -E '^CONFIG_' "$LAB_PARTS/kernel.config" | while read -r line; do
    grep -qxF "$line" linux/.config || echo "$line"
done)
if [ -n "$dropped" ]; then
    echo "Kconfig dropped these options of kernel.config:" "$dropped" >&2
    exit 1
fi

build Image modules
rm -rf modules
build INSTALL_MOD_PATH="$PWD/modules" modules_install
build -s kernelrelease > version
rm -f modules/lib/modules/*/build
tar -C modules -cf modules.tar lib/modules
cp linux/arch/arm64/boot/Image linux/.config .
mv .config config
# The tree stays for incremental builds of other configurations.
