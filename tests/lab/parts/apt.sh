#!/bin/bash
# The private apt configuration of the lab: trixie and trixie-backports, amd64
# and arm64, binaries and sources, from the mirror this machine already uses.
# The machine's own apt is read, never changed.
set -euo pipefail
base=$1
# shellcheck disable=SC2016 # apt expands these
mirror=$(env -u APT_CONFIG apt-get indextargets --format '$(REPO_URI) $(RELEASE)' |
    awk '$2 ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/ { print $1; exit }')
if [ -z "$mirror" ]; then
    echo "no Debian mirror in this machine's apt configuration (apt-get indextargets)" >&2
    exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$base/lists/partial" "$base/cache/archives/partial"
: > "$base/status"
for suite in trixie trixie-backports; do
    echo "deb [arch=amd64,arm64 signed-by=$keyring] $mirror $suite main"
    echo "deb-src [signed-by=$keyring] $mirror $suite main"
done > "$base/sources.list"
cat > "$base/apt.conf" << END
Dir::Etc::SourceList "$base/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$base/lists";
Dir::State::Status "$base/status";
Dir::Cache "$base/cache";
APT::Architectures { "amd64"; "arm64"; };
Acquire::Retries "3";
END
APT_CONFIG="$base/apt.conf" apt-get update
