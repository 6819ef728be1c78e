#!/bin/bash
# A module for the lab's own kernel, built with that kernel's tree: sdei_refused.ko.
set -euo pipefail

tree="$LAB_CACHE/kernel.work/linux"
if [ ! -f "$tree/Module.symvers" ]; then
    echo "the tree of the lab's kernel is gone from $tree: remove $LAB_CACHE/kernel-*, and run make lab again" >&2
    exit 1
fi
cp "$LAB_PARTS/sdei_refused.c" .
echo 'obj-m := sdei_refused.o' > Kbuild
make -C "$tree" -j"$LAB_JOBS" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- M="$PWD" modules
