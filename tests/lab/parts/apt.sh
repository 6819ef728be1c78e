#!/bin/bash
# A private apt configuration of the lab in $1, with the types of package $2
# (deb, deb-src), the architectures $3 and the suites that follow, from the
# mirror this machine already uses. The machine's own apt is read, never changed.
set -euo pipefail
base=$1 types=$2 architectures=$3
shift 3
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
for suite in "$@"; do
    for type in $types; do
        echo "$type [arch=$architectures signed-by=$keyring] $mirror $suite main"
    done
done > "$base/sources.list"
# Of unstable and experimental a mirror may have a copy that is out of date. It is signed all the same.
cat > "$base/apt.conf" << END
Dir::Etc::SourceList "$base/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$base/lists";
Dir::State::Status "$base/status";
Dir::Cache "$base/cache";
APT::Architectures { "amd64"; "arm64"; };
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
END
APT_CONFIG="$base/apt.conf" apt-get update
