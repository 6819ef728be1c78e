#!/bin/bash
# Linux 7.3 from Debian's source package, cross-built for the lab:
# Image, config, version and modules.tar.
# LAB_VARIANT, a file of parts/, has options that replace those of kernel.config;
# a variant starts from what the base kernel's build has left, if it is there.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

if [ -n "${LAB_VARIANT:-}" ] && [ ! -f unpacked ] && [ -f ../kernel.work/unpacked ]; then
    rm -rf linux
    cp -a ../kernel.work/linux .
    touch unpacked
elif [ ! -f unpacked ]; then
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

if [ -n "${LAB_VARIANT:-}" ]; then
    grep -Eo 'CONFIG_[A-Z0-9_]+' "$LAB_PARTS/$LAB_VARIANT" > replaced
    grep -vwFf replaced "$LAB_PARTS/kernel.config" | cat - "$LAB_PARTS/$LAB_VARIANT" > wanted
else
    cp "$LAB_PARTS/kernel.config" wanted
fi
build KCONFIG_ALLCONFIG="$PWD/wanted" allnoconfig
dropped=$(grep -E '^(CONFIG_|# CONFIG_)' wanted | while read -r line; do
    grep -qxF "$line" linux/.config || echo "$line"
done)
if [ -n "$dropped" ]; then
    echo "Kconfig dropped these options:" "$dropped" >&2
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
