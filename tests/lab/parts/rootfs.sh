#!/bin/bash
# The guests' root file system: Debian trixie arm64 with Python, never
# configured (nothing of it runs here), plus sdeictl's dependencies.
# rootfs.ext4 is mounted read-only. usr has the same Python for this machine: it
# compiles what the guest's imports, which would do so anew in every boot.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf root site
mmdebstrap --variant=extract --architectures=arm64 --mode=root \
    --aptopt='APT::Sandbox::User "root"' \
    --include=base-files,base-passwd,bash,dash,coreutils,util-linux,mount,kmod,procps,python3,libpython3-stdlib,libc-bin,strace,libudev1,grep,sed,gzip,tar,findutils,systemd,kexec-tools,makedumpfile \
    trixie root "$LAB_SOURCES"

# wheels for the guest's Python, chosen from here
mkdir site
"$LAB_PYTHON" -m pip install --quiet --target site --only-binary=:all: --python-version 3.13 \
    --implementation cp --abi cp313 --abi abi3 --abi none \
    --platform manylinux_2_36_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 --requirement "$LAB_REQUIREMENTS"
rm -rf root/opt/sdeictl-deps && mkdir -p root/opt root/lab root/boot root/usr/lib/modules root/var/lib/sdeictl root/var/crash root/state
mv site root/opt/sdeictl-deps

# what the packages' configuration would have made
[ -e root/bin ] || ln -s usr/bin root/bin
[ -e root/sbin ] || ln -s usr/sbin root/sbin
[ -e root/lib ] || ln -s usr/lib root/lib
[ -e root/bin/sh ] || ln -s dash root/usr/bin/sh
cp root/usr/share/base-passwd/passwd.master root/etc/passwd
cp root/usr/share/base-passwd/group.master root/etc/group
# journald wants to know whose journal it keeps
echo 5de1c710000000000000000000000001 > root/etc/machine-id
rm -rf python usr
mmdebstrap --variant=extract --architectures=amd64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --include=python3,libc6 trixie python "$LAB_SOURCES"
mkdir -p usr/bin
mv python/usr/bin/python3.13 usr/bin
mv python/usr/lib python/usr/lib64 usr
rm -rf python
PYTHONHOME="$PWD/usr" usr/lib64/ld-linux-x86-64.so.2 --library-path usr/lib/x86_64-linux-gnu usr/bin/python3.13 \
    -m compileall -q --invalidation-mode unchecked-hash -s root -p / \
    root/usr/lib/python3.13 root/usr/lib/python3 root/opt/sdeictl-deps
rm -rf root/usr/share/doc root/usr/share/man root/usr/share/locale root/var/cache/apt root/var/lib/apt
cp "$LAB_PARTS/lab-init" root/lab-init
chmod +x root/lab-init

rm -f rootfs.ext4
size=$(($(du -sm root | cut -f 1) * 5 / 4 + 32))
mke2fs -q -t ext4 -d root rootfs.ext4 "${size}M"
rm -rf root
