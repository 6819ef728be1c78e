#!/bin/bash
# The root of a guest that is a whole Debian trixie arm64 with systemd, apt and sshd, its packages
# configured: system.ext4. They configure themselves in a guest of the lab's own kernel, for nothing
# of arm64 runs on this machine; the disk outlasts no story, which works on a copy. The part kdump is such a
# host with kdump-tools (LAB_PART is the name of the part).
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

packages=(systemd-sysv udev apt kmod procps iproute2 strace openssh-server python3-apt
    python3 python3-click python3-rich python3-psutil python3-pyudev python3-prometheus-client python3-pyelftools)
size=1400M
if [ "$LAB_PART" = kdump ]; then
    # A host that saves what a crash leaves. It needs room for a dump, which is as large as its memory.
    packages+=(kdump-tools makedumpfile kexec-tools)
    size=2600M
fi
mkdir -p debs/partial lists
apt-get -o APT::Architecture=arm64 -o Dir::State::Status=/dev/null \
    -o Dir::Cache::Archives="$PWD/debs" -o APT::Sandbox::User=root -o APT::Install-Recommends=false \
    --yes --download-only install '?and(?essential, ?architecture(arm64))' "${packages[@]}"

# What the packages' scripts need to run at all: every file, and the links base-files has first.
rm -rf root && mkdir root
for deb in debs/base-files_*.deb debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C root --keep-directory-symlink
done
mkdir -p root/debs root/lab root/etc/systemd/network root/etc/systemd/system/multi-user.target.wants
cp debs/*.deb root/debs
[ -e root/bin/sh ] || ln -s dash root/usr/bin/sh
cp "$LAB_PARTS/system-configure" root/system-configure
cp "$LAB_PARTS/system-story" root/usr/sbin/lab-story
chmod +x root/system-configure root/usr/sbin/lab-story
ln -s usr/sbin/init root/lab-init
[ "$LAB_PART" != kdump ] || mkdir root/var/log/journal # which makes the journal persistent
echo lab > root/etc/hostname
echo '/dev/vda / ext4 rw 0 1' > root/etc/fstab
printf '[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\n' > root/etc/systemd/network/lab.network
ln -s /usr/lib/systemd/system/systemd-networkd.service root/etc/systemd/system/multi-user.target.wants
cat > root/etc/systemd/system/lab-story.service << 'END'
[Unit]
After=multi-user.target systemd-networkd.service
[Service]
ExecStart=/usr/sbin/lab-story
[Install]
WantedBy=multi-user.target
END
ln -s ../lab-story.service root/etc/systemd/system/multi-user.target.wants

rm -f system.ext4
mke2fs -q -t ext4 -d root system.ext4 "$size"
rm -rf root
kernel=$(find "$LAB_CACHE" -maxdepth 2 -regex '.*/kernel-[0-9a-f]*/Image')
timeout 1800 qemu-system-aarch64 -machine virt -cpu cortex-a57 -smp 4 -m 1024 -nodefaults -display none \
    -serial file:console.log -no-reboot -kernel "$kernel" \
    -append "console=ttyAMA0 root=/dev/vda rw rootfstype=ext4 init=/system-configure panic=-1" \
    -drive file=system.ext4,format=raw,if=none,id=root,cache=unsafe -device virtio-blk-pci,drive=root
debugfs -R 'stat /configured' system.ext4 2>&1 | grep -q Inode: || {
    tail -n 40 console.log
    exit 1
}
