# SPDX-License-Identifier: BSD-2-Clause
# about: 100,000 packets of a hostile peer, packets that match its states, listings, expiry and unload
# needs: programs
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/memory.sh

ROUNDS=10
PACKETS=10000

# fewer_than COUNT: pf holds fewer states than that.
fewer_than() {
	[ "$(jexec one pfctl -s states | wc -l)" -lt "$1" ]
}

# FreeBSD 15.0 itself loses a state key when a packet's new state has the place of a peer's
# translated one in the list of its stack key. pf counts the states that it cannot insert.
may_lose() {
	[ "$(release)" -ge 15 ] || { echo 0; return; }
	jexec one pfctl -s info | awk '$1 == "state-insert" { print $2 }'
}

load_pfsync test
make_firewalls
printf 'set limit states 100000\nset skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
start_pfsync one syncpeer 192.0.2.2
for round in $(jot $ROUNDS); do
	jexec two $VM/bin/hostile 192.0.2.1 $PACKETS $round >/dev/null || fail "hostile"
	jexec one $VM/bin/blast 127.0.0.1 9 400 4000 >/dev/null || fail "blast"
	jexec one pfctl -vv -s states > $RUN/states || fail "listing"
	inserted=$(grep -c 'creatorid' $RUN/states)
	[ "$inserted" -gt 0 ] || fail "no state was inserted"
done
jexec one $VM/bin/meet >/dev/null || fail "meet"

# Some of the states expire, the rest is removed.
printf 'set timeout { interval 1, tcp.first 1, tcp.opening 1, udp.first 1, udp.single 1, udp.multiple 1 }
set skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
states=$(jexec one pfctl -s states | wc -l)
wait_for 60 fewer_than "$states" || fail "no state expires"
result hostile.packets "$(counted one 'packets received (IPv4)')"
result hostile.bad-values "$(counted one 'states discarded for bad values')"
jexec one pfctl -q -F states
may_lose=$(may_lose)
unload_pfsync
# pf frees what it no longer needs every ten seconds.
sleep 12
zones_in_use > $RUN/zones
keys=$(awk '$1 == "zone:pf_state_keys" { sum += $2 } END { print sum }' $RUN/zones)
echo "$keys state keys are left, and FreeBSD may have lost $may_lose"
[ "$keys" -gt "$may_lose" ] || sed -i '' /pf_state_keys/d $RUN/zones
no_states_left $RUN/zones
