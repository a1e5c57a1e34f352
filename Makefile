# SPDX-License-Identifier: BSD-2-Clause
#
# Builds pfsync.ko, on Linux or on FreeBSD, with GNU make or BSD make.
#
#   make            build pfsync.ko and check it as the kernel's linker would
#   make demo       build it and show two firewalls at work, without a FreeBSD
#   make test       everything that can be tested without a FreeBSD
#   make lint       hold the source to clippy and cargo fmt; part of make test
#   make miri       run the tests of wire and engine under Miri; part of make test
#   make doc        build the documentation of the source; part of make lint
#   make bench      time wire and engine, and record what hot paths cost
#   make fuzz       fuzz each target for FUZZ_SECONDS (60); see fuzz/README.md
#   make install    install module, manual, scripts and documents (on FreeBSD)
#   make uninstall  remove these
#   make package    the same as a tarball, build/pfsync-kmod-*.tar.gz (on Linux)
#   make load       load this pfsync.ko (on FreeBSD); make unload
#   make clean      remove what was built
#
# FREEBSD=15 builds for FreeBSD 15. The default is 14, and on FreeBSD the
# release of the kernel sources.
#
# A target that lacks something installs it into build/ or, as root, with the
# package manager. tools/setup.sh prints what it installs, and why, before.

KMODDIR?=	/boot/modules
PREFIX?=	/usr/local
MANDIR=		$(PREFIX)/share/man
SBINDIR=	$(PREFIX)/sbin
RCDIR=		$(PREFIX)/etc/rc.d
DTRACEDIR=	$(PREFIX)/share/dtrace/pfsync
DOCSDIR=	$(PREFIX)/share/doc/pfsync
FUZZ_SECONDS?=	60
TARGET=		x86_64-unknown-none
# Each release has a target directory, so that changing the release is quick.
TARGET_DIR=	target/freebsd$$FREEBSD

# The module needs three options that only unstable compilers have: -Zbuild-std, to
# compile Rust's core library with the flags below, and two of these flags.
# RUSTC_BOOTSTRAP=1 makes a stable compiler accept them. The source itself uses no
# unstable feature.
#
# How the kernel's code is compiled (sys/conf/kern.mk), and what its linker
# needs: absolute addresses in the upper 2 GiB, and no GOT.
KERNEL_RUSTFLAGS= -C relocation-model=static -C code-model=kernel \
	-C force-frame-pointers=yes -C no-redzone=yes \
	-C symbol-mangling-version=v0 \
	-Z direct-access-external-data=yes -Z plt=yes

all: pfsync.ko check

pfsync.ko: toolchain
	@. build/env && echo "building pfsync.ko for FreeBSD $$FREEBSD"
	@. build/env && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(KERNEL_RUSTFLAGS)" \
	    PFSYNC_COMMIT=$$(sh tools/origin.sh commit) \
	    $$CARGO rustc --quiet --locked --release -p pfsync --target $(TARGET) \
	    --target-dir $(TARGET_DIR) -Zbuild-std=core --crate-type staticlib
	@# Removes Rust's own memcpy and the like: the kernel has better ones.
	@. build/env && cp $(TARGET_DIR)/$(TARGET)/release/libpfsync.a build/pfsync.a
	@ar t build/pfsync.a | grep compiler_builtins | xargs ar d build/pfsync.a
	@. build/env && $$KERNEL_LD -r -o pfsync.ko \
	    --whole-archive build/pfsync.a

check: pfsync.ko
	@. build/env && $$CARGO run --quiet --locked -p check-module -- \
	    --exports kmod/exports --freebsd $$FREEBSD pfsync.ko

# All tests for FreeBSD 14; for 15 those that depend on the release.
test:
	@$(MAKE) FREEBSD=15 all test-simulator
	@$(MAKE) FREEBSD=14 all lint
	@. build/env && $$CARGO test --quiet --locked -p pfsync --benches --no-run
	@. build/env && $$CARGO test --quiet --locked -p pfsync --doc
	@. build/env && $$CARGO run --quiet --locked -p pfsync-simulator --bin instructions
	@. build/env && $$CARGO test --locked --workspace --exclude sys-bindings \
	    --lib --bins --tests
	@sh tools/miri.sh if-there

# Needs rustup, and installs a nightly compiler with it.
miri:
	@sh tools/miri.sh

# In src/wire and src/engine, clippy also refuses operations that can panic. Its
# first run checks the kernel half of the module, the second everything else.
lint:
	@FREEBSD=$(FREEBSD) sh tools/setup.sh lint
	@. build/env && RUSTFMT=$${CARGO_FMT%cargo-fmt}rustfmt $$CARGO_FMT fmt --all --check
	@. build/env && RUSTC_BOOTSTRAP=1 $$CARGO_CLIPPY clippy --quiet --locked \
	    -p pfsync --lib --target $(TARGET) --target-dir $(TARGET_DIR) \
	    -Zbuild-std=core -- -D warnings
	@. build/env && $$CARGO_CLIPPY clippy --quiet --locked --workspace \
	    --exclude sys-bindings --all-targets -- -D warnings
	@$(MAKE) doc

# The first run documents everything, the second what Linux sees: src/wire and
# src/engine without their private items. A warning is an error.
doc: toolchain
	@. build/env && RUSTC_BOOTSTRAP=1 RUSTDOCFLAGS="-D warnings" $$CARGO doc --quiet \
	    --locked --no-deps -p pfsync --document-private-items --target $(TARGET) \
	    --target-dir $(TARGET_DIR) -Zbuild-std=core
	@. build/env && RUSTDOCFLAGS="-D warnings" $$CARGO doc --quiet --locked --no-deps \
	    -p pfsync
	@. build/env && echo "$(TARGET_DIR)/$(TARGET)/doc/pfsync/index.html"

test-simulator: pfsync.ko
	@. build/env && $$CARGO test --locked -p pfsync-simulator --tests \
	    --target-dir $(TARGET_DIR)

bench: all
	@. build/env && $$CARGO bench --quiet --locked -p pfsync
	@. build/env && $$CARGO run --quiet --locked -p pfsync-simulator --bin \
	    instructions -- --record

demo: all
	@. build/env && $$CARGO run --quiet --locked -p pfsync-simulator --bin demo

fuzz: all
	@FREEBSD=$(FREEBSD) sh tools/setup.sh fuzz
	@. build/env && sh fuzz/run.sh $(FUZZ_SECONDS)

setup:
	@FREEBSD=$(FREEBSD) sh tools/setup.sh all

toolchain:
	@FREEBSD=$(FREEBSD) sh tools/setup.sh

install: pfsync.ko
	install -d $(DESTDIR)$(KMODDIR) $(DESTDIR)$(MANDIR)/man4 $(DESTDIR)$(MANDIR)/man8 \
	    $(DESTDIR)$(SBINDIR) $(DESTDIR)$(RCDIR) $(DESTDIR)$(DTRACEDIR) $(DESTDIR)$(DOCSDIR)/docs
	install -m 0555 pfsync.ko $(DESTDIR)$(KMODDIR)
	install -m 0444 share/man/pfsync.4 $(DESTDIR)$(MANDIR)/man4
	install -m 0444 share/man/pfsync-status.8 $(DESTDIR)$(MANDIR)/man8
	install -m 0555 share/sbin/pfsync-status $(DESTDIR)$(SBINDIR)
	install -m 0555 share/rc.d/pfsync_key $(DESTDIR)$(RCDIR)
	install -m 0555 share/dtrace/*.d $(DESTDIR)$(DTRACEDIR)
	install -m 0444 README.md CHANGELOG.md LICENSE $(DESTDIR)$(DOCSDIR)
	install -m 0444 docs/*.md $(DESTDIR)$(DOCSDIR)/docs
	@# kldload(8) finds modules by this index. pkg(8) updates it for a package.
	[ -n "$(DESTDIR)" ] || kldxref $(KMODDIR)

uninstall:
	rm -rf $(DESTDIR)$(DTRACEDIR) $(DESTDIR)$(DOCSDIR)
	rm -f $(DESTDIR)$(KMODDIR)/pfsync.ko $(DESTDIR)$(MANDIR)/man4/pfsync.4
	rm -f $(DESTDIR)$(MANDIR)/man8/pfsync-status.8 $(DESTDIR)$(SBINDIR)/pfsync-status
	rm -f $(DESTDIR)$(RCDIR)/pfsync_key
	[ -n "$(DESTDIR)" ] || kldxref $(KMODDIR)

package: all
	@sh tools/package.sh

load: pfsync.ko
	kldload ./pfsync.ko

unload:
	kldunload pfsync

clean:
	rm -rf pfsync.ko target build/pfsync.a build/pfsync-kmod-*.tar.gz

.PHONY: all bench check clean demo doc fuzz install lint load miri package pfsync.ko setup test test-simulator toolchain uninstall unload
