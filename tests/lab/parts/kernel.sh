#!/bin/bash
# A kernel cross-built from Debian's source package $LAB_PACKAGES: Image,
# config, version and modules.tar.
# LAB_OPTIONS are files of parts/: what a later one says of an option replaces
# what an earlier one says. LAB_BASE, if set, is the part whose built tree is copied.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

if [ -n "$LAB_BASE" ] && [ ! -f unpacked ] && [ -f "../$LAB_BASE.work/unpacked" ]; then
    rm -rf linux
    cp -a "../$LAB_BASE.work/linux" .
    cp "../$LAB_BASE.work/unpacked" .
elif [ "$(cat unpacked 2> /dev/null)" != "$LAB_PACKAGES" ]; then
    rm -rf unpacked linux ./*.deb && mkdir linux
    fetch "$LAB_PACKAGES"
    dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' > source.tar.xz
    rm ./*.deb
    tar -xJf source.tar.xz -C linux --strip-components=1
    rm source.tar.xz
    echo "$LAB_PACKAGES" > unpacked
fi

# the builder's name and clock are no part of the kernel's log
export KBUILD_BUILD_USER=sdeictl KBUILD_BUILD_HOST=lab KBUILD_BUILD_TIMESTAMP='1970-01-01'
build() { make -C linux -j"$LAB_JOBS" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- "$@"; }

: > wanted
for options in $LAB_OPTIONS; do
    grep -Eo 'CONFIG_[A-Z0-9_]+' "$LAB_PARTS/$options" > replaced
    grep -vwFf replaced wanted > kept || true
    cat kept "$LAB_PARTS/$options" > wanted
done
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
