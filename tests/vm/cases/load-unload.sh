# SPDX-License-Identifier: BSD-2-Clause
# about: twenty loads and unloads, with and without pfsync0, with states queued, leak no memory; unloads while sysctls are read
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/memory.sh

ROUNDS=20

# Queues states of lo0, in a jail that has a sync interface and outside of jails, where there is none.
queue_states() {
	ping -q -c 1 127.0.0.1 >/dev/null
	jexec one ping -q -c 1 127.0.0.1 >/dev/null
}

round() {
	load_pfsync test
	ifconfig pfsync0 up
	start_pfsync one
	queue_states
	if [ $(($1 % 2)) -eq 0 ]; then
		destroy_pfsync0
		destroy_pfsync0 one
	fi
	unload_pfsync
	flush_everywhere
	must_not ifconfig pfsync0
}

# Reads the sysctls of pfsync without end.
read_for_ever() {
	while :; do
		sysctl net.pfsync >/dev/null 2>&1
	done
}

# rules_everywhere RULE: in and outside of the jails.
rules_everywhere() {
	echo "$1" | pf_rules one
	echo "$1" | pf_rules two
	echo "$1" | pfctl -q -f - || fail "rules"
}

flush_everywhere() {
	pfctl -q -F states
	jexec one pfctl -q -F states
	jexec two pfctl -q -F states
}

need_module pf
make_jail one two
make_wire one two
SYNC=$WIRE
address one "${SYNC}a" 192.0.2.1/24
ifconfig lo0 inet 127.0.0.1/8 up
pfctl -q -e
rules_everywhere "pass all keep state"

# The first rounds fill caches that stay.
round 0
round 1
memory_in_use > $RUN/before
for number in $(jot $ROUNDS); do
	round $number
done
rules_everywhere "pass all no state"
flush_everywhere
# pf frees what it no longer needs every ten seconds.
sleep 12
memory_in_use > $RUN/after
pfctl -q -d

nothing_left $RUN/after
is_reference && sed -i '' /nvlist/d $RUN/after
grew=$(memory_grew $RUN/before $RUN/after $((ROUNDS / 2)))
[ -z "$grew" ] || fail "memory grew: $grew"
no_states_left $RUN/after

if ! is_reference; then
	echo "sysctls are read while the module is unloaded"
	read_for_ever &
	reads=$!
	read_for_ever &
	more_reads=$!
	for number in $(jot $ROUNDS); do
		load_pfsync test
		unload_pfsync
	done
	kill $reads $more_reads
	wait $reads $more_reads 2>/dev/null || :
fi
