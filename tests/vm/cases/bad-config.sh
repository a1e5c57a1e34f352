# SPDX-License-Identifier: BSD-2-Clause
# about: a wrong configuration request fails with the right errno and changes nothing
# needs: programs
. /tmp/vm/lib.sh

# Mistake, the result that is expected, and that of FreeBSD's own module where it differs.
# FreeBSD's own panics on a list without a valid version number.
mistakes() {
	cat <<-LIST
	none			ok_unchanged		ok_changed
	old-unknown-interface	EINVAL_unchanged
	old-maxupd-256		EINVAL_unchanged
	old-maxupd-minus-1	EINVAL_unchanged
	old-no-memory		EFAULT_unchanged
	bytes-garbage		EINVAL_unchanged
	bytes-truncated		EINVAL_unchanged
	bytes-none		EINVAL_unchanged
	bytes-too-many		EINVAL_unchanged
	bytes-no-memory		EFAULT_unchanged
	list-unknown-interface	EINVAL_unchanged
	list-long-interface	EINVAL_unchanged
	list-maxupd-256		EINVAL_unchanged
	list-maxupd-minus-1	EINVAL_unchanged
	list-maxupd-huge	EINVAL_unchanged	ok_changed
	list-version-1234	EINVAL_unchanged
	list-no-maxupd		EINVAL_unchanged	ok_changed
	list-no-flags		EINVAL_unchanged	ok_changed
	list-no-version		ok_unchanged		panic
	list-maxupd-type	EINVAL_unchanged	ok_changed
	list-flags-type		EINVAL_unchanged	ok_changed
	list-version-type	EINVAL_unchanged	panic
	list-syncdev-type	EINVAL_unchanged	ok_changed
	list-peer-type		EINVAL_unchanged	ok_changed
	list-peer-no-af		EINVAL_unchanged	ok_changed
	list-peer-no-address	EINVAL_unchanged	ok_changed
	list-peer-address-type	EINVAL_unchanged	ok_changed
	list-peer-af-99		EINVAL_unchanged	ok_changed
	list-peer-short		EINVAL_unchanged	ok_changed
	LIST
}

# Every mistake starts from the same configuration.
configure() {
	jexec one ifconfig pfsync0 up syncdev "${SYNC}a" -syncpeer version 1400 maxupd 100 ||
	    fail "cannot configure pfsync0"
	soon "not in sync" in_sync one
}

load_pfsync test
make_firewalls
echo "pass keep state" | pf_rules one
echo "pass keep state" | pf_rules two
start_pfsync two
configure
mistakes > $RUN/mistakes
wrong=0
while read -r mistake expected stock; do
	is_reference && expected=${stock:-$expected}
	[ "$expected" != panic ] || continue
	found=$(jexec one $VM/bin/badconfig "${SYNC}a" "$mistake" | tr ' ' _)
	[ "$found" = "$expected" ] || {
		echo "  $mistake: expected $expected, found $found"
		wrong=$((wrong + 1))
	}
	case $found in
	*_unchanged) ;;
	*) configure ;;
	esac
done < $RUN/mistakes
equal "requests with another result" 0 $wrong
