# about: a thousand rounds: the sync interface departs while it is replaced or pfsync0 destroyed, and pfsync0 is destroyed during unload
# timeout: 3000
# param: family inet inet6
. /tmp/vm/lib.sh

ROUNDS=1000

case $family in
inet) GROUP=224.0.0.240 ;;
inet6) GROUP=ff12::f0 ;;
esac

# A fresh sync interface, with traffic of its own kind on it: its name is in $DEPARTING.
sync_over_new_epair() {
	DEPARTING=$(jexec one ifconfig epair create up) || fail "epair"
	jexec one ifconfig pfsync0 syncdev "$DEPARTING" syncpeer $GROUP up || fail "syncdev $DEPARTING"
}

# at_once A -- B: both commands run in jail one at the same moment. Which comes first is chance,
# and with it whether the second finds what it works on.
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
number=0
while [ $number -lt $ROUNDS ]; do
	sync_over_new_epair
	# Unloading takes longer than all the rest.
	case $((number % 20)) in
	18) unload_during_departure ;;
	19) unload_during_destroy ;;
	*) case $((number % 3)) in
	   0) replace ;;
	   1) remove ;;
	   2) destroy ;;
	   esac ;;
	esac
	number=$((number + 1))
	[ $((number % 100)) -ne 0 ] || echo "round $number"
done
unload_pfsync
equal "pfsync's memory" "" "$(memory_in_use | grep '^malloc:pfsync ')"
