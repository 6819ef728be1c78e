#!/bin/bash
# A trixie of this machine's architecture that builds the Debian package, for arm64 too, and
# judges it: root.tar. Of arm64 it has what the C library is linked with.
set -euo pipefail

rm -f root.tar
mmdebstrap --variant=buildd --architectures=amd64,arm64 --mode=root --aptopt='APT::Sandbox::User "root"' \
    --include=debhelper,dh-python,gcc-aarch64-linux-gnu,libc6-dev:arm64,lintian,python3-click,python3-installer,python3-prometheus-client,python3-setuptools \
    trixie root.tar "$LAB_SOURCES"
