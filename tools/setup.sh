#!/bin/sh
# Finds or installs what building pfsync.ko takes and writes build/env, which
# the Makefile sources. Says what it installs; does nothing when all is there.
#
#   tools/setup.sh         what `make` and the host tests need
#   tools/setup.sh fuzz    that and what `make fuzz` needs
#   tools/setup.sh lint    that and what `make lint` needs
#
# FREEBSD is the release to build for, 14 or 15. By default it is 14, and on
# FreeBSD that of the kernel sources.
set -eu

cd "$(dirname "$0")/.."
ROOT=$(pwd)
BUILD=$ROOT/build
INCLUDE=$BUILD/include

# Debian's Rust, whose sources are packaged beside it.
DEBIAN_PACKAGES="rustc-web cargo-web rust-web-src libclang-16-dev libck-dev python3-venv gcc libc6-dev mandoc"

FREEBSD=${FREEBSD:-}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# The ziglang release whose bundled headers are those of a FreeBSD, and how its
# compiler is told to compile for it. By itself the compiler claims 1400500 and
# 1500500: then 14.1 would load a module with the structures of 14.2, and 15.0
# refuse one with its own.
choose_ziglang() {
	case $FREEBSD in
	14) ZIGLANG=0.15.2 TARGET="-target x86_64-freebsd.14.2 -U__FreeBSD_version -D__FreeBSD_version=1402000" ;;
	15) ZIGLANG=0.17.1 TARGET="-target x86_64-freebsd.15.0 -U__FreeBSD_version -D__FreeBSD_version=1500068" ;;
	*) die "there are no headers for FreeBSD $FREEBSD, but for 14 and 15" ;;
	esac
}

install_debian_packages() {
	missing=
	for package in $DEBIAN_PACKAGES; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
		    grep -q 'ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null || die "please install:$missing"
	say "installing Debian packages:$missing"
	as_root apt-get -qq update
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install -y --no-install-recommends $missing >/dev/null
}

# libFuzzer is C++, and cargo-fuzz builds and runs what it drives.
CARGO_FUZZ=0.13.2

install_cargo_fuzz() {
	[ "$("$BUILD/bin/cargo-fuzz" --version 2>/dev/null)" = "cargo-fuzz $CARGO_FUZZ" ] && return 0
	say "installing cargo-fuzz $CARGO_FUZZ into build/bin"
	RUSTC=/usr/bin/rustc /usr/bin/cargo install --quiet --locked \
	    --root "$BUILD" --version "$CARGO_FUZZ" cargo-fuzz
}

install_ziglang() {
	ZIG=$BUILD/venv/lib/ziglang-$ZIGLANG
	[ -x "$ZIG/zig" ] && return 0
	say "installing ziglang $ZIGLANG (compiler, linker, FreeBSD headers) into build/venv"
	[ -x "$BUILD/venv/bin/pip" ] || python3 -m venv "$BUILD/venv"
	rm -rf "$BUILD/venv/lib/ziglang-$ZIGLANG"
	"$BUILD/venv/bin/pip" -q --disable-pip-version-check install \
	    --no-deps --target "$BUILD/venv/lib/tmp" "ziglang==$ZIGLANG"
	mv "$BUILD/venv/lib/tmp/ziglang" "$ZIG"
	rm -rf "$BUILD/venv/lib/tmp"
}

# Headers that a kernel build generates. Nothing in them is used here, but
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
	choose_ziglang
	case $1 in
	fuzz) DEBIAN_PACKAGES="$DEBIAN_PACKAGES g++" ;;
	lint) DEBIAN_PACKAGES="$DEBIAN_PACKAGES rust-web-clippy rustfmt-web" ;;
	esac
	install_debian_packages
	[ "$1" != fuzz ] || install_cargo_fuzz
	install_ziglang
	make_generated_headers
	# Concurrency Kit, which FreeBSD's sys/epoch.h and net/if_var.h include.
	dpkg -L libck-dev | grep '^/usr/include/.*\.h$' | while read -r header; do
		relative=${header#/usr/include/}
		mkdir -p "$INCLUDE/$(dirname "$relative")"
		ln -sf "$header" "$INCLUDE/$relative"
	done
	# One word that calls the compiler, as build tools want it.
	compiler=$BUILD/kernel-cc-$FREEBSD
	printf '#!/bin/sh\nexec "%s" cc %s "$@"\n' "$ZIG/zig" "$TARGET" > "$compiler"
	chmod +x "$compiler"
	headers=$ZIG/lib/libc/include
	cat > "$BUILD/env.new" <<EOF
export FREEBSD=$FREEBSD
export CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_CLIPPY=/usr/bin/cargo-clippy CARGO_FMT=/usr/bin/cargo-fmt
export LIBCLANG_PATH=/usr/lib/llvm-16/lib
export KERNEL_INCLUDE='$INCLUDE:$headers/x86_64-freebsd-none:$headers/x86-freebsd-none:$headers/generic-freebsd'
export KERNEL_CC='$compiler'
export KERNEL_LD='$ZIG/zig ld.lld'
export ZIG_GLOBAL_CACHE_DIR='$BUILD/zig-cache' ZIG_LOCAL_CACHE_DIR='$BUILD/zig-cache'
EOF
}

setup_freebsd() {
	SYS=${SYSDIR:-/usr/src/sys}
	[ -d "$SYS/netpfil/pf" ] || die "kernel sources not found in $SYS; install them or set SYSDIR"
	sources=$(sed -n 's/^REVISION="\([0-9]*\).*/\1/p' "$SYS/conf/newvers.sh")
	[ "${FREEBSD:=$sources}" = "$sources" ] || die "the sources in $SYS are FreeBSD $sources's"
	mkdir -p "$BUILD"
	if ! command -v cargo >/dev/null || ! ls /usr/local/llvm*/lib/libclang.so >/dev/null 2>&1; then
		say "installing packages: rust llvm"
		as_root pkg install -y rust llvm
	fi
	sysroot=$(rustc --print sysroot)
	[ -d "$sysroot/lib/rustlib/src/rust/library" ] ||
		die "Rust's sources are missing: build lang/rust with its SOURCES option"
	make_generated_headers
	ln -sfn "$SYS/amd64/include" "$INCLUDE/machine"
	ln -sfn "$SYS/x86/include" "$INCLUDE/x86"
	libclang=$(ls -d /usr/local/llvm*/lib | tail -n 1)
	cat > "$BUILD/env.new" <<EOF
export FREEBSD=$FREEBSD
export CARGO=cargo RUSTC=rustc RUSTDOC=rustdoc
export CARGO_CLIPPY=cargo-clippy CARGO_FMT=cargo-fmt
export LIBCLANG_PATH='$libclang'
export KERNEL_INCLUDE='$INCLUDE:$SYS:$SYS/contrib/ck/include'
export KERNEL_CC='cc' KERNEL_LD='ld.lld'
EOF
}

case $(uname -s) in
Linux) setup_linux "${1:-module}" ;;
FreeBSD) setup_freebsd ;;
*) die "builds on FreeBSD and Linux only" ;;
esac

# Keep the old file, and so its time stamp, when nothing changed.
if cmp -s "$BUILD/env.new" "$BUILD/env"; then
	rm "$BUILD/env.new"
else
	mv "$BUILD/env.new" "$BUILD/env"
fi
