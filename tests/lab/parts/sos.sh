#!/bin/bash
# sos of Debian trixie and what it imports, for the guests: sos.tar.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf tree ./*.deb && mkdir tree
fetch sos/trixie python3-magic/trixie python3-packaging/trixie python3-pexpect/trixie python3-ptyprocess/trixie \
    python3-yaml:arm64/trixie libyaml-0-2:arm64/trixie libmagic1t64:arm64/trixie libmagic-mgc:arm64/trixie
for deb in *.deb; do dpkg-deb -x "$deb" tree; done
rm ./*.deb
tar -C tree -cf sos.tar --exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./usr/share/man .
rm -rf tree
