# SPDX-License-Identifier: BSD-2-Clause
# about: tcpdump decodes every packet on pfsync0 and on the sync interface, and finds their IP headers right
. /tmp/vm/lib.sh

# capture JAIL INTERFACE FILE FILTER...: writes packets to a file.
capture() {
	local where=$1 interface=$2 file=$3
	shift 3
	helper "$where" tcpdump -n -s 0 -U -i "$interface" -w "$RUN/$file" "$@"
	soon "tcpdump on $interface does not start" test -s "$RUN/$file"
}

# decode FILE: what tcpdump prints of a captured file.
decode() {
	tcpdump -n -vv -r "$RUN/$1" 2>/dev/null
}

# Traffic that causes inserts, updates, deletes and a clear. pfsync waits up to a
# second before it sends a change of a state, hence the pauses.
make_traffic() {
	serve_udp one 5000
	jexec client ping -q -c 1 198.51.100.1 >/dev/null
	jexec client ping -6 -q -c 1 2001:db8:51::1 >/dev/null
	send_udp 198.51.100.1 5000
	sleep 2
	send_udp 198.51.100.1 5000
	sleep 2
	jexec one pfctl -q -k 198.51.100.254
	sleep 2
	jexec one pfctl -q -F states
	sleep 2
}

# check_decoded FILE LEAST: tcpdump must decode every packet, and at least so many. A packet
# that has a number has no end mark. On the wire it has a trailer, of which tcpdump says that the
# length is invalid; the messages before it are decoded.
check_decoded() {
	decode "$1" > "$RUN/$1.text"
	packets=$(grep -c 'PFSYNCv5 len' "$RUN/$1.text")
	[ "$packets" -ge "$2" ] || fail "$1: only $packets packets"
	[ "$numbered" = 1 ] ||
	    equal "$1: packets that end properly" "$packets" "$(grep -c 'eof count 1' "$RUN/$1.text")"
	bad=$(grep -E '\[\|pfsync\]|malformed|UNKNOWN|invalid|unimplemented|\.\.\.' "$RUN/$1.text")
	[ "$1" != wire-numbered ] || bad=$(echo "$bad" | grep -v 'invalid packet length')
	[ -z "$bad" ] || fail "$1: $bad"
	result "$1.packets" "$packets"
}

# check_kinds FILE: each kind of message that the traffic causes must be there.
check_kinds() {
	for kind in insert 'update compressed' 'delete compressed' 'clear all'; do
		grep -q "$kind count" "$RUN/$1.text" || {
			cat "$RUN/$1.text"
			fail "$1: no message '$kind'"
		}
	done
}

numbered=0
load_pfsync test
make_firewalls
pass_all one two

if ! is_reference; then
	echo "without a sync interface"
	must jexec one ifconfig pfsync0 up
	capture one pfsync0 alone
	make_traffic
	stop_helpers
	check_decoded alone 3
fi

# both_interfaces NAME: captures traffic on pfsync0 and on the sync interface.
both_interfaces() {
	capture one pfsync0 "tap$1"
	capture two "${SYNC}b" "wire$1" ip proto 240
	make_traffic
	stop_helpers
	for file in "tap$1" "wire$1"; do
		check_decoded "$file" 4
		check_kinds "$file"
	done
}

echo "with a sync interface"
sync_firewalls
if ! is_reference; then
	numbered=1
	both_interfaces -numbered
	for where in one two; do
		must jexec $where sysctl -q net.pfsync.numbered=0
	done
	numbered=0
fi
both_interfaces ""

headers=$(grep -c 'proto PFSYNC (240)' $RUN/wire.text)
right=$(grep -c 'tos 0x10, ttl 255, id [0-9]*, offset 0, flags \[DF\], proto PFSYNC (240)' $RUN/wire.text)
equal "packets with the right IP header" "$headers" "$right"
grep -q '192.0.2.1 > 224.0.0.240' $RUN/wire.text || fail "nothing is sent to 224.0.0.240"
