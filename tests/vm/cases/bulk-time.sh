# about: how long a full update takes, with both modules
# needs: stock programs
# param: states 40000 400000
# param: hz 100 1000
# param: mtu 1500 9000
# timeout: 3600
. /tmp/vm/lib.sh

# Seconds without a new state after which an update will never be complete.
PATIENCE=30

# Each firewall keeps the states of an hour; nothing but pfsync passes the wire.
prepare() {
	local where end
	for where in one two; do
		[ $where = one ] && end=a || end=b
		jexec $where ifconfig pfsync0 down
		must jexec $where ifconfig "$SYNC$end" mtu "$mtu"
		pf_rules $where <<-RULES
			set limit states 1000000
			set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
			set skip on $SYNC$end
			pass keep state
		RULES
		jexec $where pfctl -q -F states
	done
	wait_for 60 is_empty two || fail "states stay on two"
}

is_empty() {
	[ "$(states_on "$1")" = 0 ]
}

# measure MODULE NAME
measure() {
	local packets start found last
	load_pfsync "$1"
	prepare
	# pf takes states from a program only while pfsync is up.
	jexec one ifconfig pfsync0 up
	jexec one $VM/bin/states "$states" > $RUN/import || fail "cannot make states"
	result "$2.imported-a-second" "$(awk '{ printf "%d", $1 / $4 }' $RUN/import)"
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" || fail "pfsync0 in one"
	# pfsync0's own MTU cannot be above the sync interface's.
	jexec one ifconfig pfsync0 mtu "$mtu" || fail "mtu"
	sleep 3
	packets=$(counted one 'packets sent (IPv4)')
	start=$($VM/bin/milliseconds)
	jexec two ifconfig pfsync0 up syncdev "${SYNC}b"
	jexec two $VM/bin/arrival "$states" $PATIENCE > $RUN/arrival || fail "cannot watch the states"
	read -r found last < $RUN/arrival
	result "$2.packets" $(($(counted one 'packets sent (IPv4)') - packets))
	if [ "$found" -ge "$states" ]; then
		result "$2.milliseconds" $((last - start))
		eval "$2_took=$((last - start))"
	else
		result "$2.milliseconds" "never: $found states"
		eval "$2_took="
	fi
}

make_firewalls
measure stock c
measure test rust
unload_pfsync

is_reference || [ -n "$rust_took" ] || fail "the update does not arrive"
[ -z "$rust_took" ] || [ -z "$c_took" ] || result "ratio.milliseconds" "$(ratio "$rust_took" "$c_took")"
