# SPDX-License-Identifier: BSD-2-Clause

# Functions for cases with a firewall on each of two machines, read after lib.sh.
# The wire of vtnet0, which is the sync interface, may be faulty. That of vtnet1
# never is: the machines compare their states over it.
#
#   client --+     -- vtnet0 --
#            | one              two
#   server --+     -- vtnet1 --

HERE=192.0.2.1 THERE=192.0.2.2 SINK=203.0.113 ENDS=203.0.115
[ "$ROLE" = one ] || HERE=192.0.2.2 THERE=192.0.2.1 SINK=203.0.114 ENDS=203.0.116
# States are made to these addresses, where nobody answers. Those to ENDING are deleted, by
# their source.
LASTING=$SINK.2
ENDING=$ENDS.3
SERVER=198.51.100.130
# The seconds after the last change in which both machines become equal.
PATIENCE=5

as_one() {
	[ "$ROLE" = one ] || return 0
	"$@"
}

as_two() {
	[ "$ROLE" = two ] || return 0
	"$@"
}

# machine: sets up addresses, pf, and on one the client and the server. No pfsync is loaded yet.
machine() {
	need_module pf
	ifconfig lo0 inet 127.0.0.1/8 up
	address here vtnet0 $HERE/24
	address here vtnet1 "192.0.3.${HERE##*.}/24"
	sysctl -q net.inet.ip.forwarding=1 >/dev/null
	pf_rules here <<-RULES
		set limit states 100000
		set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
		set skip on { lo0 vtnet0 vtnet1 }
		pass inet keep state
		pass inet6 no state
	RULES
	make_wire here here
	address here "${WIRE}a" $SINK.1/24 $ENDS.1/24
	must arp -s $LASTING 02:00:00:00:00:02 >/dev/null
	must arp -s $ENDING 02:00:00:00:00:03 >/dev/null
	ifconfig "${WIRE}b" up
	as_one hosts
}

# hosts: the client and the server, each on a wire of its own.
hosts() {
	make_jail client server
	make_wire here client
	address here "${WIRE}a" 198.51.100.1/25
	address client "${WIRE}b" 198.51.100.126/25
	must jexec client route -q add default 198.51.100.1
	make_wire here server
	address here "${WIRE}a" 198.51.100.129/25
	address server "${WIRE}b" $SERVER/25
	must jexec server route -q add default 198.51.100.129
}

# use_pfsync MODULE: both machines load it, or one of them loads another, with empty state tables.
use_pfsync() {
	load_pfsync "$1"
	must pfctl -q -F states
	barrier "empty tables"
}

# value NAME: a sysctl of pfsync; nothing if the module lacks it.
value() {
	sysctl -n "net.pfsync.$1" 2>/dev/null
}

# start_sync [OPTION...]
start_sync() {
	must ifconfig pfsync0 syncdev vtnet0 "$@" up
}

# make_states ADDRESS PORT COUNT: makes a state for each of so many packets.
make_states() {
	must $VM/bin/blast "$1" "$2" "$3" "$3" >/dev/null
}

# delete_states: deletes all states to ENDING, and tells the peer.
delete_states() {
	local killed
	killed=$(pfctl -k $ENDS.1 2>&1)
	case $killed in
	"killed 0 "*) fail "nothing is deleted" ;;
	"killed "*) ;;
	*) fail "$killed" ;;
	esac
}

# states_to PORT: how many states there are to that port.
states_to() {
	pfctl -s states 2>/dev/null | grep -c -E -- "-> [0-9.]+:$1 "
}

has_states_to() {
	[ "$(states_to "$1")" -eq "$2" ]
}

# exchange PORT WHAT: both machines make states to a port, and get those of the other.
exchange() {
	echo "$2"
	barrier "before exchange $1"
	make_states $LASTING "$1" 20
	wait_for 15 has_states_to "$1" 40 || fail "$2: $(states_to "$1") states of 40"
	barrier "exchange $1"
}

# no_exchange PORT WHAT: both machines make states to a port, and get none of the other.
no_exchange() {
	echo "$2"
	barrier "before no exchange $1"
	make_states $LASTING "$1" 20
	sleep 5
	equal "$2: states" 20 "$(states_to "$1")"
	barrier "no exchange $1"
}

# set_key KEY ALSO REQUIRE: sets keys as rc(8) does, from files; see share/rc.d/pfsync_key.
set_key() {
	local also=
	(umask 077; echo "$1" > $RUN/key; echo "$2" > $RUN/also)
	[ -z "$2" ] || also=$RUN/also
	must env pfsync_key_enable=YES pfsync_key_file=$RUN/key pfsync_key_also_file="$also" \
	    pfsync_key_require="$3" sh $VM/pfsync_key start
}

# start_transfer: the client sends to the server, through one. The connection stays when the data ends.
start_transfer() {
	open_tcp server $SERVER 7000
	dd if=/dev/zero bs=1k count=2000 2>/dev/null >&4 &
	TRANSFER=$!
}

end_transfer() {
	wait $TRANSFER || fail "the transfer failed"
	soon "the transfer does not end" all_is_sent
	sleep 1
	soon "the transfer does not end" all_is_sent
}

all_is_sent() {
	[ "$(jexec client netstat -an -p tcp | awk '/ESTABLISHED/ { print $3 }')" = 0 ]
}

# compare: PATIENCE seconds after the last change, which one has just made, two compares its states
# with those of one. Sets, on two, MISSING, LEFT_OVER and OUTDATED to numbers of states.
compare() {
	barrier "last change"
	sleep $PATIENCE
	state_lines here > $RUN/states.$ROLE
	if [ "$ROLE" = one ]; then
		wait_for 30 give_states || fail "two does not take the states of one"
		barrier compared
		return
	fi
	nc -l 7001 > $RUN/states.one || fail "one does not give its states"
	ids $RUN/states.one > $RUN/ids.one
	ids $RUN/states.two > $RUN/ids.two
	MISSING=$(comm -23 $RUN/ids.one $RUN/ids.two | count_lines)
	LEFT_OVER=$(comm -13 $RUN/ids.one $RUN/ids.two | count_lines)
	OUTDATED=$(($(comm -23 $RUN/states.one $RUN/states.two | count_lines) - MISSING))
	echo "of $(count_lines < $RUN/ids.one) states $MISSING missing, $LEFT_OVER left over, $OUTDATED outdated"
	# Some of them, for whoever has to find out why.
	comm -3 $RUN/states.one $RUN/states.two | head -n 10
	barrier compared
}

give_states() {
	nc -N 192.0.3.2 7001 < $RUN/states.one
}

ids() {
	cut -d ' ' -f 1,2 "$1" | sort
}

count_lines() {
	wc -l | tr -d ' '
}

# report NAME: adds what compare has found on two to the table, and sets NAME_found.
report() {
	local syncok=0
	! in_sync here || syncok=1
	result "$1.missing" "$MISSING"
	result "$1.left-over" "$LEFT_OVER"
	result "$1.outdated" "$OUTDATED"
	result "$1.syncok" $syncok
	eval "$1_found='$MISSING $LEFT_OVER $OUTDATED $syncok'"
}

# nothing_lost NAME: what report has found is what both machines must agree on.
nothing_lost() {
	local found
	eval "found=\$$1_found"
	equal "missing, left over, outdated, syncok" "0 0 0 1" "$found"
}

# measure_modules: calls the case's `measure` for FreeBSD's own module, if it is there, which may lose
# states. Then for the module under test, which may not.
measure_modules() {
	[ ! -f "$(module_file stock)" ] || measure stock c
	measure test rust
	is_reference || as_two nothing_lost rust
}

# machine_off: undoes what lasts when the case ends.
machine_off() {
	local interface
	stop_helpers
	unload_pfsync
	must pfctl -q -d
	must pfctl -q -F states
	for interface in vtnet0 vtnet1; do
		must ifconfig $interface inet "$(interface_address $interface)" -alias
	done
	sysctl -q net.inet.ip.forwarding=0 >/dev/null
}

interface_address() {
	ifconfig "$1" | awk '$1 == "inet" { print $2; exit }'
}
