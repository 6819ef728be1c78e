#!/bin/bash
# One of the archive's unmodified kernels, the packages $LAB_PACKAGES of the
# release $LAB_RELEASE: Image, config, version and an initrd that loads its
# modules and starts the lab's root file system.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf files initrd tree ./*.deb && mkdir files
# shellcheck disable=SC2086 # a list of names
fetch $LAB_PACKAGES busybox-static:arm64
for deb in *.deb; do dpkg-deb -x "$deb" files; done
rm ./*.deb
echo "$LAB_RELEASE" > version
cp "$(find files -name "vmlinuz*" -type f)" Image

# the configuration where the package has it: below /boot or beside the modules
config=$(cd files && find . -name "config-$LAB_RELEASE" -o -path "*/modules/$LAB_RELEASE/config")
cp "files/$config" config
mkdir -p "tree/lib/modules/$LAB_RELEASE"
case $config in
    ./boot/*) mkdir tree/boot && cp config "tree/boot/config-$LAB_RELEASE" ;;
    *) cp config "tree/lib/modules/$LAB_RELEASE/config" ;;
esac
(cd tree && tar -cf ../modules.tar -- *)

[ -e files/lib ] || ln -s usr/lib files/lib
# the initrd's busybox loads plain .ko files only, depmod here need not know xz
find "files/lib/modules/$LAB_RELEASE/kernel/"{crypto,drivers/block,drivers/virtio,fs,lib,net/9p} -name "*.ko.xz" -exec xz -d {} +
depmod -b "$PWD/files" "$LAB_RELEASE"

mkdir -p initrd/bin initrd/modules initrd/proc initrd/dev initrd/newroot
cp "$(find files -path '*bin/busybox' -type f)" initrd/bin/busybox
: > initrd/modules/order
for name in virtio_pci virtio_blk ext4 9p 9pnet_virtio; do
    modprobe -d "$PWD/files" -S "$LAB_RELEASE" --show-depends "$name"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r ko; do
    cp "$ko" initrd/modules/
    basename "$ko" >> initrd/modules/order
done
cp "$LAB_PARTS/stock-init" initrd/init
chmod +x initrd/init
(cd initrd && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) | gzip -9n > initrd.gz
rm -rf files initrd tree
