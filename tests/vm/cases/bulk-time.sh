# SPDX-License-Identifier: BSD-2-Clause
# about: how long a bulk update takes, with both modules
# needs: stock programs
# param: states 40000 400000
# param: hz 100 1000
# param: mtu 1500 9000
# timeout: 3600
. /tmp/vm/lib.sh

# Seconds without a new state after which a bulk update counts as incomplete.
PATIENCE=30

# Each firewall has pf without states; nothing but pfsync passes the wire.
prepare() {
	jexec one ifconfig pfsync0 down
	jexec two ifconfig pfsync0 down
	must jexec one ifconfig "${SYNC}a" mtu "$mtu"
	must jexec two ifconfig "${SYNC}b" mtu "$mtu"
	pass_for_an_hour $((states + 1000000)) one two
	jexec one pfctl -q -F states
	jexec two pfctl -q -F states
	wait_for 300 is_empty two || fail "states stay on two"
}

# measure MODULE NAME: of the bulk update that two requests.
measure() {
	local packets start found last empty busy
	load_pfsync "$1"
	prepare
	empty=$(bytes_in_use)
	# pf accepts states from a program only while pfsync is up.
	jexec one ifconfig pfsync0 up
	jexec one $VM/bin/states "$states" > $RUN/import || fail "cannot make states"
	result "$2.imported-a-second" "$(awk '{ printf "%d", $1 / $4 }' $RUN/import)"
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" || fail "pfsync0 in one"
	# pfsync0's own MTU cannot be above the sync interface's.
	jexec one ifconfig pfsync0 mtu "$mtu" || fail "mtu"
	result "$2.bytes-a-state.one" $((($(bytes_in_use) - empty) / states))
	sleep 3
	empty=$(bytes_in_use)
	packets=$(counted one 'packets sent (IPv4)')
	busy=$(busy_receiving)
	start=$($VM/bin/milliseconds)
	jexec two ifconfig pfsync0 up syncdev "${SYNC}b"
	jexec two $VM/bin/arrival "$states" $PATIENCE > $RUN/arrival || fail "cannot watch the states"
	busy=$(($(busy_receiving) - busy))
	read -r found last < $RUN/arrival
	result "$2.bytes-a-state.two" $((($(bytes_in_use) - empty) / (found > 0 ? found : 1)))
	result "$2.packets" $(($(counted one 'packets sent (IPv4)') - packets))
	if [ "$found" -ge "$states" ]; then
		result "$2.milliseconds" $((last - start))
		# Of the time that the states took.
		result "$2.receiver-busy-percent" $((busy * 100 / (last - start)))
		eval "$2_took=$((last - start))"
	else
		result "$2.milliseconds" "never: $found states"
		eval "$2_took="
	fi
}

make_firewalls
measure_both

is_reference || [ -n "$rust_took" ] || fail "the bulk update does not arrive"
[ -z "$rust_took" ] || [ -z "$c_took" ] || result "ratio.milliseconds" "$(ratio "$rust_took" "$c_took")"
