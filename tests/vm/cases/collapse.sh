# about: messages and packets that 200,000 UDP packets over many flows cost, with both modules
# needs: stock programs
# param: flows 10 500
# timeout: 900
. /tmp/vm/lib.sh

PACKETS=200000

# One firewall sends packets to itself over lo0, where each flow has two states; the other listens.
prepare() {
	jexec one pfctl -q -F states
	jexec two pfctl -q -F states
	printf 'set limit states 100000\nset skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
	printf 'set limit states 100000\nset skip on %sb\npass keep state\n' "$SYNC" | pf_rules two
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" up || fail "pfsync0 in one"
	jexec two ifconfig pfsync0 syncdev "${SYNC}b" up || fail "pfsync0 in two"
	soon "one is not in sync" in_sync one
}

# Messages of all kinds that tell of a changed state.
updates_sent() {
	echo $(($(sent one 'compressed state update') + $(sent one 'state update')))
}

packets_sent() {
	counted one 'packets sent (IPv4)'
}

# blast: sends the packets and prints how many microseconds each took.
blast() {
	jexec one $VM/bin/blast 127.0.0.1 9 "$flows" $PACKETS |
	    awk '{ printf "%.1f\n", $3 * 1000000 / $1 }'
}

# measure MODULE NAME
measure() {
	load_pfsync "$1"
	prepare
	updates=$(updates_sent) packets=$(packets_sent)
	micros=$(blast)
	sleep 3
	updates=$(($(updates_sent) - updates)) packets=$(($(packets_sent) - packets))
	result "$2.updates" "$updates"
	result "$2.packets" "$packets"
	result "$2.microseconds-a-packet" "$micros"
	states=$(jexec two pfctl -s states | grep -c "127.0.0.1:9 ")
	equal "states on two" $((flows * 2)) "$states"
	eval "$2_updates=$updates"
}

make_firewalls
measure stock c
measure test rust
unload_pfsync

# A second's worth of updates of each state, for as long as it lasted, is what is needed.
is_reference || [ "$rust_updates" -le "$c_updates" ] || fail "more updates than the C module"
