#!/bin/bash
# One of the archive's unmodified kernels: Image, config, version and an initrd
# that loads its modules and starts the lab's root file system.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

series=${LAB_SERIES:-7.3}
# From 7.3 on, image and modules are packages of their own.
prefix=linux-binary
[ "$series" = 6.12 ] && prefix=linux-image
version=$(apt-cache pkgnames "$prefix-$series" |
    sed -n "s/^$prefix-\($series\.[0-9]*+deb13-arm64\)\$/\1/p" | sort -V | tail -n 1)
if [ -z "$version" ]; then
    echo "the archive no longer has a $prefix-$series.*+deb13-arm64 package" >&2
    exit 1
fi
packages=("$prefix-$version:arm64")
[ "$prefix" = linux-image ] || packages+=("linux-base-$version:arm64" "linux-modules-$version:arm64")

rm -rf files initrd tree ./*.deb && mkdir files
fetch "${packages[@]}" busybox-static:arm64
for deb in *.deb; do dpkg-deb -x "$deb" files; done
rm ./*.deb
echo "$version" > version
cp "$(find files -name "vmlinuz*" -type f)" Image

# the configuration where the package has it: below /boot or beside the modules
config=$(cd files && find . -name "config-$version" -o -path "*/modules/$version/config")
cp "files/$config" config
mkdir -p "tree/lib/modules/$version"
case $config in
    ./boot/*) mkdir tree/boot && cp config "tree/boot/config-$version" ;;
    *) cp config "tree/lib/modules/$version/config" ;;
esac
(cd tree && tar -cf ../modules.tar -- *)

# the initrd's busybox loads plain .ko files only, depmod here need not know xz
find "files/usr/lib/modules/$version/kernel/"{crypto,drivers/block,drivers/virtio,fs,lib,net/9p} -name "*.ko.xz" -exec xz -d {} +
[ -e files/lib ] || ln -s usr/lib files/lib
depmod -b "$PWD/files" "$version"

mkdir -p initrd/bin initrd/modules initrd/proc initrd/dev initrd/newroot
cp "$(find files -path '*bin/busybox' -type f)" initrd/bin/busybox
: > initrd/modules/order
for name in virtio_pci virtio_blk ext4 9p 9pnet_virtio; do
    modprobe -d "$PWD/files" -S "$version" --show-depends "$name"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r ko; do
    cp "$ko" initrd/modules/
    basename "$ko" >> initrd/modules/order
done
cp "$LAB_PARTS/stock-init" initrd/init
chmod +x initrd/init
(cd initrd && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) | gzip -9n > initrd.gz
rm -rf files initrd tree
