#!/bin/bash
# Prometheus, promtool and node_exporter of trixie, with their libc, as a tree of its
# own: rules, dashboard and agent are tried with what a Debian host would install.
set -euo pipefail
# shellcheck source=tests/lab/parts/lib.sh
. "$LAB_PARTS/lib.sh"

rm -rf root usr ./*.deb
fetch prometheus:amd64 promtool:amd64 prometheus-node-exporter:amd64 libc6:amd64
for package in *.deb; do
    dpkg-deb -x "$package" root
done
# only this: neither pages nor units are needed
mkdir -p usr/bin
mv root/usr/bin/prometheus root/usr/bin/promtool root/usr/bin/prometheus-node-exporter usr/bin
mv root/usr/lib64 usr
mkdir usr/lib
mv root/usr/lib/x86_64-linux-gnu usr/lib
rm -rf root ./*.deb
