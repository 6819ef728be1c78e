#!/bin/bash
# The archive's unmodified 7.3 kernel: Image, config, version and an initrd
# that loads its modules and starts the lab's root file system.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

version=$(apt-cache pkgnames linux-binary-7.3 | sed -n 's/^linux-binary-\(7\.3\.[0-9]*+deb13-arm64\)$/\1/p' | sort -V | tail -n 1)
if [ -z "$version" ]; then
    echo "the archive no longer has a linux-binary-7.3.*+deb13-arm64 package" >&2
    exit 1
fi

rm -rf files initrd ./*.deb && mkdir files
fetch "linux-binary-$version:arm64" "linux-base-$version:arm64" "linux-modules-$version:arm64" busybox-static:arm64
for deb in *.deb; do dpkg-deb -x "$deb" files; done
rm ./*.deb
echo "$version" > version
image=$(find files -name "vmlinuz*" -type f)
cp "$image" Image
cp "files/usr/lib/modules/$version/config" config
tar -C files/usr -cf modules.tar "lib/modules/$version/config"

# the initrd's busybox loads plain .ko files only, depmod here need not know xz
find "files/usr/lib/modules/$version/kernel/"{crypto,drivers/block,drivers/virtio,fs,lib,net/9p} -name "*.ko.xz" -exec xz -d {} +
ln -s usr/lib files/lib
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
rm -rf files initrd
