# shellcheck shell=bash
# Sourced by every part. The part runs in its own work directory with:
#   LAB_PARTS   this directory        LAB_JOBS  parallel jobs
#   LAB_PYTHON  a Python with pip
#   APT_CONFIG  the private apt configuration made by apt.sh

# Download binary packages by name into the work directory.
fetch() {
    apt-get -o APT::Sandbox::User=root download "$@"
}

# Download and unpack a source package by name into directory $2.
fetch_source() {
    apt-get -o APT::Sandbox::User=root source --download-only "$1"
    rm -rf "$2"
    dpkg-source --no-check -x "$1"_*.dsc "$2"
}
