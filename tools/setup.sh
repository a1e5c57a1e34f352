#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Installs what the Makefile needs, and writes build/env, which the Makefile
# reads. Prints what is missing and what it is for before it installs anything.
# Does nothing if everything is there.
#
#   tools/setup.sh         what `make` and the tests need
#   tools/setup.sh lint    that, and what `make lint` needs
#   tools/setup.sh fuzz    that, and what `make fuzz` needs
#   tools/setup.sh miri    only what `make miri` needs
#   tools/setup.sh all     what everything but cargo-fuzz needs, for all releases
#
# FREEBSD is the release to build for, 14 or 15. The default is 14, and on
# FreeBSD the release of the kernel sources. ARCH is the architecture, amd64 or
# aarch64 (FreeBSD's `uname -p`). The default is amd64, and on FreeBSD that of
# the machine.
set -eu

cd "$(dirname "$0")/.."
ROOT=$(pwd)
BUILD=$ROOT/build
INCLUDE=$BUILD/include
FREEBSD=${FREEBSD:-}
ARCH=${ARCH:-}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# need_root PACKAGE...: says how installing these packages gets root's rights.
need_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	command -v sudo >/dev/null || die "installing packages needs root, and there is no sudo; please install: $*"
	say "installing packages needs root; sudo may ask for your password"
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# debian_packages PURPOSE: Debian packages, one a line, and what each is for.
# Rust is Debian's, which has its sources in a package of their own.
debian_packages() {
	cat <<-LIST
		rustc-web        the Rust compiler
		cargo-web        builds Rust programs
		rust-web-src     sources of Rust's core library, which is compiled for the kernel
		libclang-16-dev  reads the kernel's headers for bindgen
		libck-dev        headers of Concurrency Kit, which the kernel's headers include
		python3-venv     installs ziglang from PyPI into build/venv
		gcc              links build scripts, tools and tests
		libc6-dev        the C library for these
		mandoc           checks the manual in the tests
	LIST
	case $1 in lint | all)
		cat <<-LIST
			rust-web-clippy  lints the source
			rustfmt-web      checks the format of the source
		LIST
	esac
	case $1 in fuzz | all)
		echo "g++              compiles libFuzzer"
	esac
}

# choose_ziglang RELEASE: the ziglang version that has the headers of that
# FreeBSD, the release that its compiler compiles for, and the options that say
# so. Without these, the compiler claims releases 1400500 and 1500500: FreeBSD
# 14.1 would load a module with the structures of 14.2, and 15.0 refuse one with
# its own.
choose_ziglang() {
	case $1 in
	14) ZIGLANG=0.15.2 OS=freebsd.14.2 VERSION="-U__FreeBSD_version -D__FreeBSD_version=1402000" ;;
	15) ZIGLANG=0.17.1 OS=freebsd.15.0 VERSION="-U__FreeBSD_version -D__FreeBSD_version=1500068" ;;
	*) die "there are no headers for FreeBSD $1, only for 14 and 15" ;;
	esac
}

# choose_machine ARCH: how the module is compiled and linked for it.
#
#   RUST_TARGET       the target of Rust's compiler
#   KERNEL_RUSTFLAGS  the flags of FreeBSD's sys/conf/kern.mk, for Rust
#   LINK              the options that link it (sys/conf/kmod.mk)
#   HEADERS           where ziglang has the kernel's headers
#   MACHINE           how ziglang's compiler calls it
#   KERNEL_CFLAGS     what ziglang's compiler must be told of it for the kernel, as
#                     it ignores -mgeneral-regs-only and -ffixed-x18
choose_machine() {
	KERNEL_RUSTFLAGS="-C force-frame-pointers=yes -C symbol-mangling-version=v0"
	case $1 in
	amd64)
		RUST_TARGET=x86_64-unknown-none
		# A relocatable object, with absolute addresses in the upper 2 GiB, and
		# without a GOT, which the kernel's linker does not know.
		KERNEL_RUSTFLAGS="$KERNEL_RUSTFLAGS -C relocation-model=static -C code-model=kernel"
		KERNEL_RUSTFLAGS="$KERNEL_RUSTFLAGS -C no-redzone=yes"
		KERNEL_RUSTFLAGS="$KERNEL_RUSTFLAGS -Z direct-access-external-data=yes -Z plt=yes"
		LINK="-r"
		HEADERS="x86_64-freebsd-none x86-freebsd-none"
		MACHINE=x86_64 KERNEL_CFLAGS=
		;;
	aarch64)
		RUST_TARGET=aarch64-unknown-none-softfloat
		# A shared object. Register x18 points to the data of the CPU. The
		# kernel's pages may be such that jumps through pointers must meet a
		# landing pad (BTI), and its functions sign their return addresses (PAC).
		KERNEL_RUSTFLAGS="$KERNEL_RUSTFLAGS -C relocation-model=pic"
		KERNEL_RUSTFLAGS="$KERNEL_RUSTFLAGS -Z fixed-x18 -Z branch-protection=bti,pac-ret"
		# The kernel's linker gives each vnet a copy of the VNET variables, and
		# moves their addresses in the GOT: no relaxation may bypass it. All
		# symbols are local but the bounds of the linker sets.
		LINK="-shared --no-relax -z text -z norelro -z bti-report=error --hash-style=sysv"
		LINK="$LINK --version-script=$ROOT/kmod/symbols.map"
		HEADERS="aarch64-freebsd-none"
		MACHINE=aarch64 KERNEL_CFLAGS="-mcpu=generic+reserve_x18-fp_armv8-neon"
		;;
	*) die "the module can be built for amd64 and aarch64, not for $1" ;;
	esac
}

install_debian_packages() {
	missing=
	packages=$(debian_packages "$1")
	for package in $(echo "$packages" | awk '{ print $1 }'); do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
		    grep -q 'ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	say "these Debian packages are missing:"
	for package in $missing; do
		echo "$packages" | grep "^$package " | sed 's/^/    /'
	done
	command -v apt-get >/dev/null || die "please install:$missing"
	# shellcheck disable=SC2086
	need_root $missing
	as_root apt-get -qq update
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install -y --no-install-recommends $missing >/dev/null
}

CARGO_FUZZ=0.13.2

install_cargo_fuzz() {
	[ "$("$BUILD/bin/cargo-fuzz" --version 2>/dev/null)" = "cargo-fuzz $CARGO_FUZZ" ] && return 0
	say "building cargo-fuzz $CARGO_FUZZ, which runs libFuzzer, into build/bin"
	RUSTC=/usr/bin/rustc /usr/bin/cargo install --quiet --locked \
	    --root "$BUILD" --version "$CARGO_FUZZ" cargo-fuzz
}

# Miri belongs to the nightly compiler that it was built with, and only rustup has it.
# Prints the name of the toolchain at the end.
MIRI_TOOLCHAIN=nightly-2026-10-30

install_miri() {
	command -v rustup >/dev/null || die "Miri needs rustup, which Debian 12 does not have"
	if ! rustup run $MIRI_TOOLCHAIN cargo miri --version >/dev/null 2>&1; then
		say "installing $MIRI_TOOLCHAIN with rustup: Miri, which runs wire and engine in the tests" >&2
		rustup --quiet toolchain install --no-self-update --profile minimal \
		    --component miri,rust-src $MIRI_TOOLCHAIN || die "rustup cannot install $MIRI_TOOLCHAIN"
	fi
	echo $MIRI_TOOLCHAIN
}

# install_ziglang VERSION
install_ziglang() {
	zig=$BUILD/venv/lib/ziglang-$1
	[ -x "$zig/zig" ] && return 0
	say "installing ziglang $1 into build/venv: C compiler, linker and FreeBSD's headers"
	[ -x "$BUILD/venv/bin/pip" ] || python3 -m venv "$BUILD/venv"
	rm -rf "$zig"
	"$BUILD/venv/bin/pip" -q --disable-pip-version-check install \
	    --no-deps --target "$BUILD/venv/lib/tmp" "ziglang==$1"
	mv "$BUILD/venv/lib/tmp/ziglang" "$zig"
	rm -rf "$BUILD/venv/lib/tmp"
}

# Headers that a kernel build generates. The module uses nothing in them, but
# other headers include them.
make_generated_headers() {
	mkdir -p "$INCLUDE"
	for header in bus_if.h device_if.h; do
		[ -f "$INCLUDE/$header" ] || : > "$INCLUDE/$header"
	done
}

setup_linux() {
	mkdir -p "$BUILD"
	FREEBSD=${FREEBSD:-14}
	ARCH=${ARCH:-amd64}
	choose_ziglang "$FREEBSD"
	choose_machine "$ARCH"
	install_debian_packages "$1"
	case $1 in
	fuzz) install_cargo_fuzz ;;
	all)
		for release in 14 15; do
			choose_ziglang $release
			install_ziglang "$ZIGLANG"
		done
		[ -x "$BUILD/bin/cargo-fuzz" ] ||
			say "not installed: cargo-fuzz, which \`make fuzz\` builds in a few minutes"
		;;
	esac
	choose_ziglang "$FREEBSD"
	install_ziglang "$ZIGLANG"
	ZIG=$BUILD/venv/lib/ziglang-$ZIGLANG
	make_generated_headers
	# Concurrency Kit, which FreeBSD's sys/epoch.h and net/if_var.h include.
	dpkg -L libck-dev | grep '^/usr/include/.*\.h$' | while read -r header; do
		relative=${header#/usr/include/}
		mkdir -p "$INCLUDE/$(dirname "$relative")"
		ln -sf "$header" "$INCLUDE/$relative"
	done
	# Build tools want the name of the compiler to be one word.
	compiler=$BUILD/kernel-cc-$FREEBSD-$ARCH
	printf '#!/bin/sh\nexec "%s" cc %s %s "$@"\n' "$ZIG/zig" "-target $MACHINE-$OS" "$VERSION" > "$compiler"
	chmod +x "$compiler"
	include=$INCLUDE
	for directory in $HEADERS generic-freebsd; do
		include=$include:$ZIG/lib/libc/include/$directory
	done
	cat > "$BUILD/env.new" <<EOF
export FREEBSD=$FREEBSD ARCH=$ARCH
export CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_CLIPPY=/usr/bin/cargo-clippy CARGO_FMT=/usr/bin/cargo-fmt
export LIBCLANG_PATH=/usr/lib/llvm-16/lib
export RUST_TARGET=$RUST_TARGET
export KERNEL_RUSTFLAGS='$KERNEL_RUSTFLAGS'
export KERNEL_INCLUDE='$include'
export KERNEL_CC='$compiler' KERNEL_CFLAGS='$KERNEL_CFLAGS'
export KERNEL_LD='$ZIG/zig ld.lld $LINK'
export ZIG_GLOBAL_CACHE_DIR='$BUILD/zig-cache' ZIG_LOCAL_CACHE_DIR='$BUILD/zig-cache'
EOF
}

setup_freebsd() {
	SYS=${SYSDIR:-/usr/src/sys}
	[ -d "$SYS/netpfil/pf" ] || die "kernel sources not found in $SYS; install them or set SYSDIR"
	sources=$(sed -n 's/^REVISION="\([0-9]*\).*/\1/p' "$SYS/conf/newvers.sh")
	[ "${FREEBSD:=$sources}" = "$sources" ] || die "the sources in $SYS are those of FreeBSD $sources"
	: "${ARCH:=$(uname -p)}"
	[ "$ARCH" = "$(uname -p)" ] || die "on FreeBSD, the module is built for the machine itself, $(uname -p)"
	choose_machine "$ARCH"
	mkdir -p "$BUILD"
	if ! command -v cargo >/dev/null || ! ls /usr/local/llvm*/lib/libclang.so >/dev/null 2>&1; then
		say "missing packages: rust (compiler and cargo), llvm (libclang, which reads the kernel's headers)"
		need_root rust llvm
		as_root pkg install -y rust llvm
	fi
	sysroot=$(rustc --print sysroot)
	[ -d "$sysroot/lib/rustlib/src/rust/library" ] ||
		die "Rust's sources are missing: build lang/rust with its option SOURCES"
	make_generated_headers
	# Where the kernel's sources have what belongs to the machine.
	case $ARCH in
	amd64) ln -sfn "$SYS/amd64/include" "$INCLUDE/machine" ;;
	aarch64) ln -sfn "$SYS/arm64/include" "$INCLUDE/machine" ;;
	esac
	ln -sfn "$SYS/x86/include" "$INCLUDE/x86"
	libclang=$(ls -d /usr/local/llvm*/lib | tail -n 1)
	cat > "$BUILD/env.new" <<EOF
export FREEBSD=$FREEBSD ARCH=$ARCH
export CARGO=cargo RUSTC=rustc RUSTDOC=rustdoc
export CARGO_CLIPPY=cargo-clippy CARGO_FMT=cargo-fmt
export LIBCLANG_PATH='$libclang'
export KERNEL_INCLUDE='$INCLUDE:$SYS:$SYS/contrib/ck/include'
export RUST_TARGET=$RUST_TARGET
export KERNEL_RUSTFLAGS='$KERNEL_RUSTFLAGS'
export KERNEL_CC='cc' KERNEL_CFLAGS= KERNEL_LD='ld.lld $LINK'
EOF
}

if [ "${1:-}" = miri ]; then
	install_miri
	exit
fi

case $(uname -s) in
Linux) setup_linux "${1:-module}" ;;
FreeBSD) setup_freebsd ;;
*) die "the module can be built on FreeBSD and Linux only" ;;
esac

# Keeps the old file and its time stamp if nothing changed.
if cmp -s "$BUILD/env.new" "$BUILD/env"; then
	rm "$BUILD/env.new"
else
	mv "$BUILD/env.new" "$BUILD/env"
fi
