#!/bin/sh
# `make demo`: the main job on this host if it is arm64 Linux, else on the bundled capture of a lab host.
set -u
host=$1

# 1 and 3 are answers ("not ready", "could not tell"); anything else is a failure of the demo.
answer() {
    "$@"
    status=$?
    echo "(exit status $status)"
    case $status in 0 | 1 | 3) ;; *) exit 1 ;; esac
}

if [ "$(uname -sm)" = "Linux aarch64" ]; then
    echo "== This host: sdeictl probe"
    answer sdeictl probe
    echo
    echo "== The kernel log of this host: sdeictl analyze"
    dmesg | answer sdeictl analyze -
    exit 0
fi

echo "This machine is $(uname -sm). What follows is about a bundled capture, not about this machine:"
sed 's/^/  /' "$host/ORIGIN"
echo
echo "== sdeictl probe --root $host/root"
answer sdeictl probe --root "$host/root"
echo
echo "== sdeictl analyze $host/console.log"
answer sdeictl analyze "$host/console.log"
echo
echo "A crash dump of the same kind of host:"
sed 's/^/  /' tests/crash/ORIGIN
echo
echo "== sdeictl vmcore tests/crash/vmcore"
answer sdeictl vmcore tests/crash/vmcore
