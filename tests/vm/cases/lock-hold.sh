# SPDX-License-Identifier: BSD-2-Clause
# about: how long the locks of pf and pfsync are held at most while states are made, change, arrive and are told in a bulk update, with both modules
# needs: stock programs
# hz: 1000
# timeout: 3600
. /tmp/vm/lib.sh

STATES=${states:-50000}
SINK=203.0.113.2
# Seconds in which a peer takes in all states.
PATIENCE=$((60 + STATES / 5000))

# blast: one sends a packet of each connection.
blast() {
	jexec one $VM/bin/blast $SINK 9 "$STATES" "$STATES" >/dev/null || fail "cannot send packets"
}

# longest_holds NAME: the most microseconds that a thread held each lock of pf or pfsync. The output
# of the case tells where the thread locked it.
longest_holds() {
	sysctl -n debug.lock.prof.stats > "$RUN/stats"
	grep ':pf' "$RUN/stats" | sort -rn | head -n 20
	awk '
		$1 > 0 && /:[0-9]+ \([^:]*:pf/ {
			name = $0
			sub(/.*\([^:]*:/, "", name)
			sub(/\).*/, "", name)
			gsub(/[^a-z0-9]+/, "-", name)
			if ($1 > most[name])
				most[name] = $1
		}
		END { for (name in most) print name, most[name] }' "$RUN/stats" | sort > "$RUN/locks"
	[ -s "$RUN/locks" ] || fail "the kernel saw no lock of pf"
	while read -r name most; do
		result "$1.microseconds.$name" "$most"
	done < "$RUN/locks"
}

# measure MODULE NAME
measure() {
	local name most
	load_pfsync "$1"
	start_pfsync one
	start_pfsync two
	wait_for 180 in_sync one || fail "one is not in sync"
	jexec one pfctl -q -F states
	wait_for $PATIENCE is_empty one || fail "states stay on one"
	must sysctl -q debug.lock.prof.reset=1 debug.lock.prof.enable=1
	blast
	wait_for $PATIENCE has_states two "$STATES"
	blast
	sleep 3
	must jexec two ifconfig pfsync0 down
	must jexec two ifconfig pfsync0 up
	wait_for $((PATIENCE * 4)) in_sync two
	must sysctl -q debug.lock.prof.enable=0
	result "$2.states-on-the-peer" "$(states_on two)"
	longest_holds "$2"
}

sysctl -n debug.lock.prof.enable >/dev/null 2>&1 || skip "needs a kernel with LOCK_PROFILING"
make_firewalls
make_sink one 200
need_module pf
pass_for_an_hour $((STATES + 1000000)) one two
measure_both
