# shellcheck shell=bash
# Sourced by every part. The part runs in its own work directory with:
#   LAB_PARTS   this directory        LAB_JOBS  parallel jobs
#   LAB_PYTHON  a Python with pip
#   APT_CONFIG  the private apt configuration made by apt.sh

# Download binary packages by name into the work directory.
fetch() {
    apt-get -o APT::Sandbox::User=root download "$@"
}

# Download and unpack a source package by name into directory $2, Debian's
# patches applied. Without dpkg-source: mirrors have been seen to lack the .dsc,
# and apt has checked the archives themselves.
fetch_source() {
    apt-get -o APT::Sandbox::User=root source --download-only "$1" || echo "going on with what is there"
    rm -rf "$2" && mkdir "$2"
    tar -xf "$1"_*.orig.tar.xz -C "$2" --strip-components=1
    tar -xf "$1"_*.debian.tar.xz -C "$2"
    sed 's/#.*//' "$2/debian/patches/series" | while read -r patch; do
        [ -z "$patch" ] || patch -d "$2" -p1 -s -i "debian/patches/$patch"
    done
}
