# about: how long a full update of 40,000 states takes, with both modules
# needs: stock programs
# param: hz 100 1000
# param: mtu 1500 9000
# timeout: 1200
. /tmp/vm/lib.sh

STATES=40000
PATIENCE=90

# Each firewall keeps the states of an hour; nothing but pfsync passes the wire.
prepare() {
	local where end
	for where in one two; do
		[ $where = one ] && end=a || end=b
		jexec $where ifconfig pfsync0 down
		must jexec $where ifconfig "$SYNC$end" mtu "$mtu"
		pf_rules $where <<-RULES
			set limit states 100000
			set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
			set skip on $SYNC$end
			pass keep state
		RULES
		jexec $where pfctl -q -F states
	done
}

states_on() {
	jexec "$1" pfctl -si 2>/dev/null | awk '/current entries/ { print $3 }'
}

arrived() {
	[ "$(states_on two)" -ge $STATES ]
}

# full_update: how many milliseconds it took two to get all states, once configured.
full_update() {
	local start
	start=$($VM/bin/milliseconds)
	jexec two ifconfig pfsync0 up syncdev "${SYNC}b" >&2
	wait_for $PATIENCE arrived
	echo $(($($VM/bin/milliseconds) - start))
}

# measure MODULE NAME
measure() {
	local packets took found
	load_pfsync "$1"
	prepare
	# pf takes states from a program only while pfsync is up.
	jexec one ifconfig pfsync0 up
	jexec one $VM/bin/states $STATES || fail "cannot make states"
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" || fail "pfsync0 in one"
	# pfsync0's own MTU cannot be above the sync interface's.
	jexec one ifconfig pfsync0 mtu "$mtu" || fail "mtu"
	sleep 3
	packets=$(counted one 'packets sent (IPv4)')
	took=$(full_update)
	found=$(states_on two)
	if [ "$found" -ge $STATES ]; then
		result "$2.milliseconds" "$took"
	else
		result "$2.milliseconds" "never: $found states after $PATIENCE s"
	fi
	result "$2.packets" $(($(counted one 'packets sent (IPv4)') - packets))
	eval "$2_found=$found $2_took=$took"
}

make_firewalls
measure stock c
measure test rust
unload_pfsync

is_reference || [ "$rust_found" -ge $STATES ] || fail "the update does not arrive"
is_reference || [ "$rust_took" -le "$c_took" ] || fail "slower than the C module"
