#!/bin/bash
# VictoriaMetrics of trixie with its libc, as a tree of its own: it speaks the API of Prometheus in its own way.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf root usr ./*.deb
fetch victoria-metrics:amd64 libc6:amd64 libzstd1:amd64
for package in *.deb; do
    dpkg-deb -x "$package" root
done
mkdir -p usr/bin usr/lib
mv root/usr/bin/victoria-metrics usr/bin
mv root/usr/lib64 usr
mv root/usr/lib/x86_64-linux-gnu usr/lib
rm -rf root ./*.deb
