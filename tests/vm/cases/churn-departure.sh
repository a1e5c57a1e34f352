# SPDX-License-Identifier: BSD-2-Clause
# about: a thousand times the sync interface departs while it is replaced or pfsync0 destroyed, or during unload
# timeout: 3000
# param: family inet inet6
. /tmp/vm/lib.sh
. /tmp/vm/memory.sh

ROUNDS=${rounds:-1000}

case $family in
inet) GROUP=224.0.0.240 ;;
inet6) GROUP=ff12::f0 ;;
esac

# Makes a new epair the sync interface. Sets DEPARTING to its name.
sync_over_new_epair() {
	DEPARTING=$(jexec one ifconfig epair create up) || fail "epair"
	jexec one ifconfig pfsync0 syncdev "$DEPARTING" syncpeer $GROUP up || fail "syncdev $DEPARTING"
}

# at_once A -- B: runs A in jail one and B at the same time. Which comes first is chance, and so
# is whether the second finds its interface.
at_once() {
	local first=
	while [ "$1" != -- ]; do
		first="$first $1"
		shift
	done
	shift
	jexec one $first >/dev/null 2>&1 4>&- &
	"$@" >/dev/null 2>&1
	wait $!
}

replace() {
	at_once ifconfig "$DEPARTING" destroy -- jexec one ifconfig pfsync0 syncdev lo1 syncpeer $GROUP
}

remove() {
	at_once ifconfig "$DEPARTING" destroy -- jexec one ifconfig pfsync0 -syncdev
}

destroy() {
	at_once ifconfig "$DEPARTING" destroy -- jexec one ifconfig pfsync0 destroy
	jexec one ifconfig pfsync0 >/dev/null 2>&1 || must jexec one ifconfig pfsync0 create
}

unload_during_departure() {
	at_once ifconfig "$DEPARTING" destroy -- kldunload pfsync
	! kldstat -q -n pfsync.ko || fail "kldunload failed"
	load_pfsync test
}

unload_during_destroy() {
	at_once ifconfig pfsync0 destroy -- kldunload pfsync
	! kldstat -q -n pfsync.ko || fail "kldunload failed"
	jexec one ifconfig "$DEPARTING" destroy
	load_pfsync test
}

make_jail one
jexec one ifconfig lo1 create up || fail "lo1"
need_module if_epair
load_pfsync test
for number in $(jot $ROUNDS); do
	sync_over_new_epair
	# Unloading takes much longer than the other kinds of rounds.
	case $((number % 20)) in
	18) unload_during_departure ;;
	19) unload_during_destroy ;;
	*) case $((number % 3)) in
	   0) replace ;;
	   1) remove ;;
	   2) destroy ;;
	   esac ;;
	esac
	[ $((number % 100)) -ne 0 ] || echo "round $number"
done
unload_pfsync
memory_in_use > $RUN/after
nothing_left $RUN/after
