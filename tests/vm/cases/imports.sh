# about: how many states a second come in from a peer that sends as fast as it can, with both modules
# needs: stock programs
# timeout: 900
. /tmp/vm/lib.sh

STATES=50000
# Seconds without a new state after which what is missing was lost on its way.
PATIENCE=5

# measure MODULE NAME: the peer is a program, where no pfsync takes part.
measure() {
	local start found last
	load_pfsync "$1"
	pf_rules two <<-RULES
		set limit states 1000000
		set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
		set skip on ${SYNC}b
		pass keep state
	RULES
	jexec two pfctl -q -F states
	soon "states stay on two" is_empty
	must jexec two ifconfig pfsync0 syncpeer 192.0.2.1 syncdev "${SYNC}b" up
	jexec two $VM/bin/arrival $STATES $PATIENCE > $RUN/arrival &
	jexec one $VM/bin/inserts 192.0.2.2 $STATES > $RUN/start || fail "cannot send inserts"
	wait $!
	read -r start < $RUN/start
	read -r found last < $RUN/arrival
	result "$2.arrived" "$found"
	eval "$2_rate=$((found * 1000 / (last - start)))"
	eval "result $2.imported-a-second \$$2_rate"
}

is_empty() {
	[ "$(states_on two)" = 0 ]
}

need_module pf
make_firewalls
measure stock c
measure test rust
unload_pfsync

result ratio.imported-a-second "$(ratio "$rust_rate" "$c_rate")"
