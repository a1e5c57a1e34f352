# Builds pfsync.ko, on Linux or on FreeBSD, with GNU make or BSD make.
#
#   make            build pfsync.ko
#   make check      check pfsync.ko against what the kernel's linker takes
#   make test       everything that can be tested without a FreeBSD
#   make install    copy pfsync.ko to /boot/modules (on FreeBSD)
#   make load       load this pfsync.ko (on FreeBSD); make unload
#   make clean      remove what was built

KMODDIR?=	/boot/modules
TARGET=		x86_64-unknown-none
STATICLIB=	target/$(TARGET)/release/libpfsync.a

# How the kernel's code is compiled (sys/conf/kern.mk), and what its linker
# needs: absolute addresses in the upper 2 GiB, no GOT.
KERNEL_RUSTFLAGS= -C relocation-model=static -C code-model=kernel \
	-C force-frame-pointers=yes -C no-redzone=yes -C symbol-mangling-version=v0 -Z direct-access-external-data=yes -Z plt=yes

all: pfsync.ko

pfsync.ko: setup
	@. build/env && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(KERNEL_RUSTFLAGS)" \
	    $$CARGO rustc --quiet --release -p pfsync --target $(TARGET) \
	    -Zbuild-std=core --crate-type staticlib
	@# Rust's own memcpy and the like stay out: the kernel has better ones.
	@cp $(STATICLIB) build/pfsync.a && ar t build/pfsync.a | grep compiler_builtins | \
	    xargs ar d build/pfsync.a
	@. build/env && $$KERNEL_LD -r -o pfsync.ko --strip-debug --whole-archive build/pfsync.a
	@ls -l pfsync.ko

setup:
	@sh tools/setup.sh

clean:
	rm -rf pfsync.ko target

.PHONY: all setup clean check test install load unload pfsync.ko
