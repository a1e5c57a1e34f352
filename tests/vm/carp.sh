# SPDX-License-Identifier: BSD-2-Clause

# Functions for cases with a carp(4) pair, read after lib.sh. Machine one is the
# master, machine two the backup. The hosts behind both are jails on machine two,
# where bridges join them to the virtual wires and to two's own interfaces.
#
#   client (inside) --+-- wire -- one -- wire --+-- server (outside)
#                     +---------- two ----------+

BRIDGES=

# lan JAIL WIRE: makes a jail on a virtual wire to the other machine. Sets
# JAIL_INTERFACE to the jail's interface and OWN_INTERFACE to this machine's.
lan() {
	local bridge jail
	need_module if_bridge
	sysctl -q net.link.bridge.pfil_member=0 net.link.bridge.pfil_bridge=0 >/dev/null
	make_jail "$1"
	make_wire "$1" here
	jail=$WIRE
	make_wire here here
	bridge=$(ifconfig bridge create) || fail "bridge"
	BRIDGES="$BRIDGES $bridge"
	ifconfig "$2" up
	ifconfig "${jail}b" up
	ifconfig "${WIRE}a" up
	ifconfig "$bridge" addm "$2" addm "${jail}b" addm "${WIRE}a" up || fail "bridge"
	JAIL_INTERFACE=${jail}a
	OWN_INTERFACE=${WIRE}b
}

destroy_bridges() {
	local bridge
	for bridge in $BRIDGES; do
		ifconfig "$bridge" destroy
	done
}

# remove_addresses INTERFACE...: removes the IPv4 addresses, and so carp.
remove_addresses() {
	local interface address
	for interface in "$@"; do
		for address in $(ifconfig "$interface" | awk '$1 == "inet" { print $2 }'); do
			ifconfig "$interface" inet "$address" -alias
		done
	done
}

# carp_is STATE INTERFACE: whether carp is in that state there.
carp_is() {
	ifconfig "$2" | grep -q "carp: $1 "
}

# start_numbers ADDRESS: the server counts, a line each tenth of a second. The
# client receives the lines by TCP until the case ends.
start_numbers() {
	count_up &
	HELPERS="$HELPERS $!"
	sleep 1
	helper client nc "$1" 7000 >$RUN/numbers
}

count_up() {
	local number=0
	while :; do
		number=$((number + 1))
		echo $number
		sleep 0.1
	done | jexec server nc -l 7000
}

numbers() {
	wc -l < $RUN/numbers
}

# goes_on SECONDS WHAT: thirty more numbers must arrive in that time.
goes_on() {
	reached=$(($(numbers) + 30))
	wait_for "$1" more_numbers || fail "$2: the transfer stopped after $(numbers) numbers"
}

more_numbers() {
	[ "$(numbers)" -ge $reached ]
}

# The numbers that arrived must be complete and in order.
check_numbers() {
	local count
	count=$(numbers)
	jot "$count" 1 > $RUN/expected
	head -n "$count" $RUN/numbers | cmp -s - $RUN/expected || fail "numbers are missing or wrong"
}
