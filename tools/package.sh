#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Packs what `make install` installs into build/pfsync-kmod-*.tar.gz, which
# `tar -xpf FILE -C /` installs. The same source gives the same bytes.
#
# Packs the present pfsync.ko. Needs GNU make and GNU tar.
set -eu
cd "$(dirname "$0")/.."
. build/env

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
package=$PWD/build/pfsync-kmod-$version-freebsd$FREEBSD-$ARCH.tar.gz
stage=build/stage

rm -rf $stage
make -s --assume-old=pfsync.ko install DESTDIR=$stage
cd $stage
# Packs no directories: they exist, or FreeBSD's tar makes them.
find . -type f | LC_ALL=C sort | sed 's/^\.\///' |
    tar --format=ustar --owner=root:0 --group=wheel:0 \
	--mtime="@${SOURCE_DATE_EPOCH:-$(sh ../../tools/origin.sh time)}" -cf - -T - |
    gzip -9n > "$package"
rm -rf "../../$stage"
echo "$package"
