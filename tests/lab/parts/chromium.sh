#!/bin/bash
# Chromium of trixie without a window, with its libraries and one family of fonts, as a tree of its own; and
# axe-core of npm. A page is looked at as a person would see it, and asked what a screen reader would miss.
set -euo pipefail

rm -rf archives root usr axe-core-*.tgz package
mkdir -p archives/partial
# Debian's tool resolves the dependencies: the state of this machine's packages is not asked.
apt-get -o APT::Sandbox::User=root -o Dir::Cache::Archives="$PWD/archives/" --no-install-recommends \
    --download-only --yes install chromium-headless-shell:amd64 fonts-dejavu-core fonts-dejavu-mono
for package in archives/*.deb; do
    case $package in
    # drivers of graphics cards, a third of the tree: nothing is drawn on one
    archives/libllvm*|archives/mesa-*|archives/libgl1-mesa-dri*|archives/libz3*) ;;
    *) dpkg-deb -x "$package" root ;;
    esac
done
mkdir -p usr/bin usr/share
mv root/usr/lib root/usr/lib64 usr
mv root/usr/share/fonts usr/share
mv usr/lib/chromium usr/bin
# It looks for its own files beside the program that runs, which is the loader.
cp -L usr/lib64/ld-linux-x86-64.so.2 usr/bin/chromium
npm pack --silent axe-core@4
tar -xzf axe-core-*.tgz package/axe.min.js
mv package/axe.min.js usr/share
rm -rf archives root package axe-core-*.tgz
