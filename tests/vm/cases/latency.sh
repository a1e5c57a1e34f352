# SPDX-License-Identifier: BSD-2-Clause
# about: how long after the first packet of a connection its insert is at the peer, and in how many packets, with both modules
# needs: stock programs
# param: rate 10 100 1000 10000
# timeout: 900
. /tmp/vm/lib.sh

# Some seconds of connections.
COUNT=$((rate * 3))
[ "$rate" -ge 100 ] || COUNT=$((rate * 20))

listens() {
	grep -q ready $RUN/listener
}

# in_milliseconds FILE: median, 99th percentile and maximum of the microseconds in a file.
in_milliseconds() {
	sort -n "$1" | awk '
		{ delay[NR] = $1 / 1000 }
		END { printf "%.2f %.2f %.2f\n", delay[int((NR + 1) / 2)], delay[int(NR * 0.99 + 0.999)], delay[NR] }'
}

# measure MODULE NAME: sets NAME_median, NAME_p99, NAME_max and NAME_packets.
measure() {
	local listener packets figures
	jexec one pfctl -q -F states
	load_pfsync "$1"
	start_pfsync one
	start_pfsync two
	soon "one is not in sync" in_sync one
	sleep 3
	jexec two $VM/bin/inserted "${SYNC}b" $COUNT 5 >$RUN/arrived 2>$RUN/listener &
	listener=$!
	soon "nothing listens on the sync interface" listens
	packets=$(packets_sent)
	must jexec one $VM/bin/connect 203.0.113.2 "$rate" $COUNT >$RUN/sent
	wait $listener || fail "cannot listen on the sync interface"
	packets=$(($(packets_sent) - packets))
	awk 'NR == FNR { sent[$1] = $2; next } $1 in sent { print $2 - sent[$1] }' \
	    $RUN/sent $RUN/arrived > $RUN/delays
	figures=$(in_milliseconds $RUN/delays)
	result "$2.connections-a-second" "$(awk '
		NR == 1 { first = $2 }
		END { printf "%.0f\n", (NR - 1) * 1000000 / ($2 - first) }' $RUN/sent)"
	result "$2.milliseconds.median" "${figures%% *}"
	result "$2.milliseconds.p99" "$(echo "$figures" | cut -d ' ' -f 2)"
	result "$2.milliseconds.max" "${figures##* }"
	result "$2.lost" $((COUNT - $(wc -l < $RUN/delays)))
	result "$2.packets" "$packets"
	eval "$2_p99=$(echo "$figures" | cut -d ' ' -f 2) $2_packets=$packets $2_found=$(($(wc -l < $RUN/delays)))"
	wait_for 10 has_states two $COUNT
	echo "$2: $(states_on two) states on the peer"
}

make_firewalls
make_sink one
need_module pf
pass_for_an_hour 200000 one two
measure_both

TICK=$(sysctl -n kern.hz | awk '{ print 1000 / $1 }')
result ticks.p99 "$(ratio "$rust_p99" "$TICK")"
result ratio.p99 "$(ratio "$rust_p99" "$c_p99")"
result ratio.packets "$(ratio "$rust_packets" "$c_packets")"
is_reference || equal "inserts" $COUNT "$rust_found"
