# SPDX-License-Identifier: BSD-2-Clause
# about: everything at once, in an order by a seed: pf, pfsync0, sync interfaces, vnets and the module, under traffic
# needs: programs
# timeout: 1200
. /tmp/vm/lib.sh
. /tmp/vm/memory.sh

# Parameters (--set): `seconds`, how long the workers work, and `seed`. A seed repeats what each worker
# does and in which order; what it meets depends on the others, and so on the moment.
CHAOS_SECONDS=${seconds:-90}
SEED=${seed:-$(od -A n -N 2 -t u2 /dev/random | tr -d ' ')}

VNETS="one two three"
FILE=$(module_file test)

# --- the vnets --------------------------------------------------------------

number_of() {
	case $1 in
	one) NUMBER=1 ;;
	two) NUMBER=2 ;;
	three) NUMBER=3 ;;
	esac
}

# set_up VNET: makes what the vnet lacks of its interfaces, addresses and rules. The sync
# interface of vnet one is one0; its other end, to_one, belongs to the bridge of all.
set_up() {
	jail -c name="$1" persist vnet
	jexec "$1" ifconfig lo0 inet 127.0.0.1/8 up
	jexec "$1" ifconfig lo0 inet6 ::1/128
	jexec "$1" ifconfig lo1 create up
	make_sync_interface "$1"
	jexec "$1" pfctl -e
	load_rules "$1"
}

make_sync_interface() {
	local end
	end=$(ifconfig epair create) || return
	join "$1" "${end%a}" && return
	# Another worker may be making one.
	ifconfig "${end%a}b" destroy || ifconfig "to_$1" destroy
	return 1
}

# join VNET EPAIR: makes it the sync interface of the vnet.
join() {
	ifconfig "${2}a" name "${1}0" &&
	    ifconfig "${2}b" name "to_$1" &&
	    ifconfig "to_$1" up &&
	    ifconfig "$BRIDGE" addm "to_$1" &&
	    ifconfig "${1}0" vnet "$1" &&
	    give_addresses "$1"
}

give_addresses() {
	number_of "$1"
	jexec "$1" ifconfig "${1}0" inet 192.0.2.$NUMBER/24 up &&
	    jexec "$1" ifconfig "${1}0" inet6 2001:db8:2::$NUMBER/64
}

load_rules() {
	jexec "$1" pfctl -q -f - <<-RULES
		set limit states 5000
		set skip on ${1}0
		pass keep state
	RULES
}

take_down() {
	local vnet
	for vnet in $VNETS; do
		jail -r $vnet
		ifconfig to_$vnet destroy
	done
}

# --- chance -----------------------------------------------------------------

# one_of WORD...: sets PICKED to the next word in this worker's order.
one_of() {
	CHANCE=$(((CHANCE * 1103515245 + 12345) % 2147483648))
	shift $((CHANCE / 65536 % $#))
	PICKED=$1
}

goes_on() {
	[ "$(date +%s)" -lt $END ]
}

# worker KIND NUMBER OPERATION...: does these operations, one after the other, in any vnet.
worker() {
	local name=$1$2 operation
	CHANCE=$((SEED * 100 + $2))
	shift 2
	while goes_on; do
		one_of "$@"
		operation=$PICKED
		one_of $VNETS
		V=$PICKED
		echo "$name $operation $V"
		# Whether it succeeds depends on what the others do.
		$operation >/dev/null 2>&1
		echo "$operation $?" >> $RUN/$name.done
	done
}

# --- operations on pf -------------------------------------------------------

PF="enable disable reload no_sync_rules floating_off flush_states flush_all kill_states
    clear_interface list_states change_limits new_host_id"

enable() { jexec $V pfctl -q -e; }
disable() { jexec $V pfctl -q -d && sleep 0.5 && jexec $V pfctl -q -e; }
reload() { load_rules $V; }
flush_states() { jexec $V pfctl -q -F states; }
flush_all() { jexec $V pfctl -q -F all && load_rules $V; }
list_states() { jexec $V pfctl -q -vv -s states; }
save_states() { jexec $V pfctl -q -S $RUN/states.$V; }
load_states() { jexec $V pfctl -q -L $RUN/states.$V; }
change_limits() { one_of 100 1000 5000; echo "set limit states $PICKED" | jexec $V pfctl -q -m -f -; }
new_host_id() { one_of 1 2 3; echo "set hostid $PICKED" | jexec $V pfctl -q -m -f -; }

no_sync_rules() {
	jexec $V pfctl -q -f - <<-RULES
		pass keep state (no-sync)
		pass inet6 keep state
	RULES
}

floating_off() {
	jexec $V pfctl -q -f - <<-RULES
		set state-policy if-bound
		set timeout { udp.first 2, udp.single 2, interval 1 }
		anchor inner {
			pass proto udp keep state (max 1000)
		}
		pass keep state
	RULES
}

kill_states() {
	one_of 127.0.0.1 192.0.2.2 ::1 0.0.0.0/0
	jexec $V pfctl -q -k $PICKED
}

clear_interface() {
	one_of lo0 ${V}0 all
	jexec $V pfctl -q -i $PICKED -F states
}

# --- operations on pfsync0 --------------------------------------------------

PFSYNC="up up down configure configure syncdev other_syncdev no_syncdev syncpeer syncpeer
    no_syncpeer maxupd defer no_defer version mtu destroy create create rename change_sysctl
    bulk_request bulk_request watch statistics set_key other_key no_key"

pfsync0() { jexec $V ifconfig -n pfsync0 "$@"; }

up() { pfsync0 up; }
down() { pfsync0 down; }
configure() { pfsync0 -syncpeer syncdev ${V}0 up; }
syncdev() { pfsync0 syncdev ${V}0; }
other_syncdev() { pfsync0 syncdev lo1; }
no_syncdev() { pfsync0 -syncdev; }
no_syncpeer() { pfsync0 -syncpeer; }
maxupd() { one_of 1 3 128 255; pfsync0 maxupd $PICKED; }
defer() { pfsync0 defer; }
no_defer() { pfsync0 -defer; }
version() { one_of 1301 1400 1500; pfsync0 version $PICKED; }
mtu() { one_of 576 1400 1500 9000; pfsync0 mtu $PICKED; }
destroy() { pfsync0 destroy; }
create() { pfsync0 create; }
rename() { pfsync0 name pfsyncx && sleep 0.2 && jexec $V ifconfig -n pfsyncx name pfsync0; }
bulk_request() { jexec $V sysctl net.pfsync.bulk_request=1; }
watch() { jexec $V timeout 1 tcpdump -n -v -i pfsync0 >/dev/null || [ $? -eq 124 ]; }
statistics() { jexec $V netstat -s -p pfsync && jexec $V sysctl net.pfsync && pfsync0; }

syncpeer() {
	one_of 192.0.2.1 192.0.2.3 224.0.0.240 2001:db8:2::1 ff12::f0
	pfsync0 syncpeer $PICKED
}

change_sysctl() {
	one_of defer_delay peer_share peer_inserts peer_requests only_peer carp_demotion_factor \
	    numbered require_key
	set -- $PICKED
	one_of 0 1 50 100
	jexec $V sysctl net.pfsync.$1=$PICKED
}

set_key() { jexec $V sysctl net.pfsync.key="$(jot -b a5 -s "" 32)"; }
other_key() { jexec $V sysctl net.pfsync.key_also="$(jot -b 5a -s "" 32)"; }
no_key() { jexec $V sysctl net.pfsync.require_key=0 net.pfsync.key= net.pfsync.key_also=; }

# --- operations on the sync interface ---------------------------------------

INTERFACE="interface_down interface_again interface_again rename_interface no_addresses
    new_addresses move_sync_interface lo1_again link_mtu"

interface_down() { jexec $V ifconfig ${V}0 down && sleep 0.5 && jexec $V ifconfig ${V}0 up; }
new_addresses() { give_addresses $V; }
lo1_again() { jexec $V ifconfig lo1 destroy; jexec $V ifconfig lo1 create up; }
link_mtu() { one_of 1280 1400 1500; jexec $V ifconfig ${V}0 mtu $PICKED; }

interface_again() {
	ifconfig to_$V destroy
	make_sync_interface $V
}

rename_interface() {
	jexec $V ifconfig ${V}0 name ${V}x && sleep 0.2 && jexec $V ifconfig ${V}x name ${V}0
}

no_addresses() {
	number_of $V
	jexec $V ifconfig ${V}0 inet 192.0.2.$NUMBER -alias
	jexec $V ifconfig ${V}0 inet6 2001:db8:2::$NUMBER -alias
}

move_sync_interface() {
	ifconfig ${V}0 -vnet $V && sleep 0.2 && ifconfig ${V}0 vnet $V && give_addresses $V
}

# --- vnets and the module ---------------------------------------------------

VNET="passing_vnet passing_vnet vnet_again"
MODULE="load_again load_again unloaded_for_a_while"

# A vnet that uses pfsync for a moment.
passing_vnet() {
	jail -c name=passing persist vnet
	jexec passing ifconfig lo0 inet 127.0.0.1/8 up
	jexec passing ifconfig -n pfsync0 syncdev lo0 up
	one_of 0 0.3 1
	sleep $PICKED
	jail -r passing
}

vnet_again() {
	jail -r $V
	ifconfig to_$V destroy
	set_up $V
	one_of 1 3
	sleep $PICKED
}

load_again() {
	kldunload pfsync && kldload $FILE
	one_of 2 5 10
	sleep $PICKED
}

unloaded_for_a_while() {
	kldunload pfsync && sleep 0.5 && kldload $FILE
	one_of 2 5 10
	sleep $PICKED
}

# --- the case ---------------------------------------------------------------

# fast_worker VNET NUMBER: requests and packets by system calls, many times as fast as a shell.
# The end of the vnet ends the program.
fast_worker() {
	local run=0
	while goes_on; do
		run=$((run + 1))
		echo "fast$2 $1"
		jexec $1 $VM/bin/chaos $1 $((SEED * 1000 + $2 * 100 + run)) $((END - $(date +%s))) >> $RUN/fast$2.counts
		sleep 0.2
	done 2>/dev/null
}

# workers: all of them at once, until $END.
workers() {
	worker pf 1 $PF &
	worker pfsync 2 $PFSYNC &
	worker pfsync 3 $PFSYNC &
	worker interface 4 $INTERFACE &
	worker vnet 5 $VNET &
	worker module 6 $MODULE &
	fast_worker one 7 &
	fast_worker two 8 &
	fast_worker three 9 &
	wait
	: > $RUN/ended
}

# A worker that does not come to its end, or does nothing for a minute, is stuck in the kernel.
wait_for_workers() {
	local done last= still=0
	while [ ! -e $RUN/ended ]; do
		sleep 1
		done=$(cat $RUN/pfsync2.done $RUN/interface4.done $RUN/vnet5.done 2>/dev/null | wc -l)
		[ "$done" = "$last" ] || still=0
		still=$((still + 1))
		last=$done
		[ $still -lt 60 ] && [ "$(date +%s)" -lt $((END + 120)) ] || worker_is_stuck
	done
}

worker_is_stuck() {
	tail -n 3 $RUN/*.done
	ps -axwwl
	procstat -kk -a | grep -v -E 'idle|intr|fork_trampoline'
	fail "a worker is stuck"
}

# Prints how often each operation succeeded and was tried. One that never succeeds tests nothing.
report_operations() {
	{ cat $RUN/*.counts; awk '{ print $1, ($2 == 0), 1 }' $RUN/*.done; } | awk '
		{ done[$1] += $2; tried[$1] += $3 }
		END { for (name in tried) print name, done[name], tried[name] }' | sort > $RUN/operations
	awk '{ printf "  %s: %d of %d\n", $1, $2, $3 }' $RUN/operations
	idle=$(awk '$2 == 0 && $3 >= 30 { print $1 }' $RUN/operations)
	# FreeBSD's own module does not destroy pfsync0.
	is_reference || [ -z "$idle" ] || fail "never succeeded:" $idle
}

# succeeded NAME...: how often these operations did, in all.
succeeded() {
	awk -v names=" $* " 'index(names, " " $1 " ") { sum += $2 } END { print sum + 0 }' $RUN/operations
}

# Memory in use, without that of the files that the case writes.
kernel_memory() {
	memory_in_use | grep -v -E ':(tmpfs|ufs)'
}

# FreeBSD itself leaks some memory when a vnet or an interface ends. This ends nine.
CONTROL=9
control() {
	kernel_memory > $RUN/before_control
	for V in $VNETS; do
		vnet_again
		interface_again
		lo1_again
	done >/dev/null 2>&1
	sleep 12
	kernel_memory > $RUN/before
}

# grew SLACK: prints the memory that grew by more than SLACK items, and by more than twice of
# what FreeBSD itself leaks.
grew() {
	local ended
	ended=$(succeeded passing_vnet vnet_again interface_again move_sync_interface lo1_again c_destroy_lo1)
	awk -v slack="$1" -v share=$((2 * ended)) -v control=$CONTROL '
		FILENAME ~ /before_control$/ { first[$1] = $2; next }
		FILENAME ~ /before$/ { before[$1] = $2; next }
		{ own = before[$1] - first[$1] }
		$2 - before[$1] > slack + (own > 0 ? own * share / control : 0) {
			print $1, before[$1] + 0, "->", $2
		}' $RUN/before_control $RUN/before $RUN/after
}

check_memory() {
	local grew requests
	sleep 12
	kernel_memory > $RUN/after
	nothing_left $RUN/after
	no_states_left $RUN/after
	is_reference && sed -i '' /nvlist/d $RUN/after
	requests=$(awk '{ sum += $3 } END { print sum }' $RUN/operations)
	result operations "$requests"
	grew=$(grew $((20 + requests / 100)))
	[ -z "$grew" ] || fail "memory grew: $grew"
}

check_sync() {
	load_pfsync test
	make_firewalls
	pass_all one two
	sync_firewalls
	must jexec one $VM/bin/blast 198.51.100.254 9 100 100 >/dev/null
	wait_for 30 has_states two 100 || fail "only $(states_on two) states on two"
}

echo "seed $SEED"
need_module pf if_epair bridgestp if_bridge
# pfctl of 14.2 and 15.0 cannot save the states in a file.
! pfctl -q -S $RUN/states 2>/dev/null || PF="$PF save_states load_states"
CHANCE=$SEED
BRIDGE=$(ifconfig bridge create) || fail "cannot make a bridge"
must ifconfig "$BRIDGE" up
for vnet in $VNETS; do
	set_up $vnet || fail "vnet $vnet"
done
control
load_pfsync test
END=$(($(date +%s) + CHAOS_SECONDS))
# Only one process at a time may write to the harness.
workers | cat &
wait_for_workers
report_operations
kldstat -q -n pfsync.ko || must kldload "$FILE"
unload_pfsync
take_down
check_memory
check_sync
ifconfig "$BRIDGE" destroy
