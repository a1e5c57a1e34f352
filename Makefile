# Builds pfsync.ko, on Linux or on FreeBSD, with GNU make or BSD make.
#
#   make            build pfsync.ko and check it as the kernel's linker would
#   make demo       build it and show two firewalls at work, without a FreeBSD
#   make test       everything that can be tested without a FreeBSD
#   make fuzz       fuzz each target for FUZZ_SECONDS (60); see fuzz/README.md
#   make install    copy pfsync.ko to /boot/modules (on FreeBSD)
#   make load       load this very file (on FreeBSD); make unload
#   make clean      remove what was built
#
# What is missing is installed into build/, or by the package manager;
# tools/setup.sh says what.

KMODDIR?=	/boot/modules
FUZZ_SECONDS?=	60
TARGET=		x86_64-unknown-none
STATICLIB=	target/$(TARGET)/release/libpfsync.a

# How the kernel's code is compiled (sys/conf/kern.mk), and what its linker
# needs: absolute addresses in the upper 2 GiB, and no GOT.
KERNEL_RUSTFLAGS= -C relocation-model=static -C code-model=kernel \
	-C force-frame-pointers=yes -C no-redzone=yes \
	-C symbol-mangling-version=v0 \
	-Z direct-access-external-data=yes -Z plt=yes

all: pfsync.ko check

pfsync.ko: setup
	@echo "building pfsync.ko"
	@. build/env && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(KERNEL_RUSTFLAGS)" \
	    $$CARGO rustc --quiet --locked --release -p pfsync \
	    --target $(TARGET) -Zbuild-std=core --crate-type staticlib
	@# Rust's own memcpy and the like stay out: the kernel has better ones.
	@cp $(STATICLIB) build/pfsync.a
	@ar t build/pfsync.a | grep compiler_builtins | xargs ar d build/pfsync.a
	@. build/env && $$KERNEL_LD -r -o pfsync.ko --strip-debug \
	    --whole-archive build/pfsync.a

check: pfsync.ko
	@. build/env && $$CARGO run --quiet --locked -p check-module -- \
	    --exports kmod/exports pfsync.ko

test: all
	@. build/env && $$CARGO test --locked --workspace --exclude sys-bindings \
	    --lib --bins --tests

demo: all
	@. build/env && $$CARGO run --quiet --locked -p pfsync-host --bin demo

fuzz: all
	@sh tools/setup.sh fuzz
	@. build/env && sh fuzz/run.sh $(FUZZ_SECONDS)

setup:
	@sh tools/setup.sh

install: pfsync.ko
	install -m 0555 pfsync.ko $(KMODDIR)/pfsync.ko

load: pfsync.ko
	kldload ./pfsync.ko

unload:
	kldunload pfsync

clean:
	rm -rf pfsync.ko target build/pfsync.a

.PHONY: all check clean demo fuzz install load pfsync.ko setup test unload
