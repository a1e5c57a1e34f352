# SPDX-License-Identifier: BSD-2-Clause
# about: with defer, a first packet waits for the peer's acknowledgement or for defer_delay; none is lost
# needs: programs
. /tmp/vm/lib.sh

DELAY=2000

# ping_time: how many milliseconds a ping from one to the client takes that makes a new state in one.
ping_time() {
	jexec one pfctl -q -F states
	sleep 1.5
	jexec one ping -c 1 -W 10000 198.51.100.254 |
	    awk -F 'time=' '/time=/ { print int($2) }'
}

# must_take LEAST MOST WHAT: bounds of ping_time; WHAT names the result.
must_take() {
	local took
	took=$(ping_time)
	result "$3" "$took"
	[ -n "$took" ] || fail "$3: the packet is lost"
	[ "$took" -ge "$1" ] && [ "$took" -le "$2" ] || fail "$3: $took ms"
}

# arrived COUNT: whether exactly so many datagrams came since $before.
arrived() {
	[ $(($(datagrams) - before)) -eq "$1" ]
}

# datagrams: how many datagrams the client has received, whether or not a program listened.
datagrams() {
	jexec client netstat -s -p udp | awk '/datagrams? received/ { print $1 }'
}

# burst COUNT: one sends so many datagrams at once, each of which makes a state.
burst() {
	jexec one $VM/bin/blast 198.51.100.254 9 "$1" "$1" >/dev/null
}

load_pfsync test
make_firewalls
pass_all one two
must jexec one sysctl -q net.pfsync.defer_delay=$DELAY >/dev/null
sync_firewalls defer
jexec one ifconfig pfsync0 | grep -q 'defer: on' || fail "defer is not shown"
# The first ping waits for ARP.
jexec one ping -q -c 1 -W 10000 198.51.100.254 >/dev/null

must_take 0 1000 "milliseconds-with-a-peer"
must jexec two ifconfig pfsync0 down
must_take $DELAY 5000 "milliseconds-without-a-peer"
must jexec one ifconfig pfsync0 -defer
must_take 0 500 "milliseconds-without-defer"

echo "more packets than a queue holds"
must jexec one ifconfig pfsync0 defer
jexec one pfctl -q -F states
before=$(datagrams)
burst 2000
wait_for 15 arrived 2000 || fail "of 2000 packets $(($(datagrams) - before)) arrived"

echo "deferred packets are not lost when the module is unloaded"
if ! is_reference; then
	jexec one pfctl -q -F states
	before=$(datagrams)
	burst 100
	unload_pfsync
	wait_for 15 arrived 100 || fail "of 100 packets $(($(datagrams) - before)) arrived"
fi
