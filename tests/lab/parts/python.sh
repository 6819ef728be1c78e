#!/bin/bash
# A Debian of the suite $LAB_SUITE with its own Python, and the project's dependencies in /venv: root.tar.
# Its tests run there without a network.
set -euo pipefail
mirror=$(awk '$1 == "deb" { print $(NF - 2); exit }' "$LAB_SOURCES")

rm -rf root root.tar
mmdebstrap --variant=minbase --architectures=amd64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --include=ca-certificates,gcc,git,iproute2,libc6-dev,openssl,python3-venv,udev \
    "$LAB_SUITE" root "$mirror"
# The index of this machine may need its certificates and its name server.
cp /etc/resolv.conf root/etc/resolv.conf
cp "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" root/etc/pip-certificates.crt
cp "$LAB_DEV_REQUIREMENTS" root/requirements.txt
python() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PIP_CERT=/etc/pip-certificates.crt \
        ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} chroot root "$@"
}
python python3 -m venv /venv
# The pip of Debian 11 cannot install a project that only pyproject.toml describes.
python /venv/bin/pip install --quiet --upgrade pip
python /venv/bin/pip install --quiet --requirement /requirements.txt
tar -C root -cf root.tar .
rm -rf root
