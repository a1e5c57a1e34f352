# SPDX-License-Identifier: BSD-2-Clause
# about: after a takeover, a state's packets are changed as the rule that made it said, on a firewall without that rule
. /tmp/vm/lib.sh

# watch INTERFACE: captures nc's answers on the wire between two and the hosts that it took over.
watch() {
	jexec heir tcpdump -n -v -l -i "$1" udp port 5001 > $RUN/seen 2>/dev/null &
	HELPERS="$HELPERS $!"
	sleep 2
}

load_pfsync test
make_firewalls
# The same addresses as on one's wire, as carp(4) gives them to both.
make_jail heir
make_wire two heir
address two "${WIRE}a" 198.51.100.1/24
address heir "${WIRE}b" 198.51.100.254/24
pf_rules one <<-RULES
	set skip on ${SYNC}a
	pass keep state
	pass proto udp to port 5001 set tos 0x28 scrub (min-ttl 77) keep state
RULES
pf_rules two <<-RULES
	set skip on ${SYNC}b
	pass keep state
RULES
sync_firewalls
serve_udp one 5001
send_udp 198.51.100.1 5001
soon "no state on two" has_state two "udp 198.51.100.1:5001 .*MULTIPLE"

serve_udp two 5001
watch "${WIRE}b"
echo hello | jexec heir nc -u -w 2 -p 4000 198.51.100.1 5001 >/dev/null 2>&1
stop_helpers
cat $RUN/seen
grep -B 1 '198.51.100.1.5001 >' $RUN/seen > $RUN/answer || fail "no answer"
grep -q 'ttl 77' $RUN/answer || fail "the least time to live is not set"
# FreeBSD's own module loses this.
is_reference || grep -q 'tos 0x28' $RUN/answer || fail "the type of service is not set"
