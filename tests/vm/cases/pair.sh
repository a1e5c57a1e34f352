# SPDX-License-Identifier: BSD-2-Clause
# about: two machines hold the same states after every step, with each module, message format and transport
# machines: 2
# timeout: 1200
# param: one test stock
# param: two test stock
# param: version 1400 1301 1500
# param: over multicast unicast multicast6 unicast6
. /tmp/vm/lib.sh

HERE=192.0.2.1 THERE=192.0.2.2 HERE6=2001:db8:2::1 THERE6=2001:db8:2::2
MODULE=$one
if [ "$ROLE" = two ]; then
	HERE=192.0.2.2 THERE=192.0.2.1 HERE6=2001:db8:2::2 THERE6=2001:db8:2::1
	MODULE=$two
fi
SERVER=198.51.100.1
CLIENT=198.51.100.254
SERVER6=2001:db8:51::1

# How long a bulk update may take, in seconds. Between two of FreeBSD's own modules it can
# fail: when the clock ticks at the wrong moment, the requesting module mistakes the end mark
# for that of an earlier bulk update, and requests another only after four minutes.
PATIENCE=30
[ "$one$two" != stockstock ] || PATIENCE=500

# The sync peer, by the transport.
peer() {
	case $over in
	multicast) echo 224.0.0.240 ;;
	unicast) echo $THERE ;;
	multicast6) echo ff12::f0 ;;
	unicast6) echo $THERE6 ;;
	esac
}

start_sync() {
	ifconfig pfsync0 up version "$(own_format "$version")" maxupd 1 syncpeer "$(peer)" syncdev vtnet0 ||
	    fail "cannot configure pfsync0"
}

# compare WHAT: when nothing moves any more, both machines must hold the same states.
compare() {
	sleep 3
	barrier "$1"
	state_lines here | grep -v ':5999 ' | publish "$1"
	expiries > $RUN/expiries
	publish "$1-expiries" < $RUN/expiries
	must_match "$1"
	barrier "$1-told"
	# A bulk update that is requested again, as said above, extends the life of the states
	# that FreeBSD's own module has already.
	[ "$ROLE" = one ] || [ "$one$two" = stockstock ] || check_expiries "$(ask "$1-expiries")"
}

# At which second of the clock each state expires, all in one line: id=second ... The machines
# do not list their states at the same moment.
expiries() {
	pfctl -vv -s states 2>/dev/null | awk -v now="$(date +%s)" '
		/^[^ ]/ { shared = !/:5999 / }
		/expires in/ { sub(/.*expires in /, ""); sub(/,.*/, ""); split($0, t, ":")
			second = now + t[1] * 3600 + t[2] * 60 + t[3] }
		shared && /^   id:/ { line = line " " $2 "=" second }
		END { print line }'
}

# check_expiries LINE: the other machine's states must expire when these do, give or take the
# time that an update may wait and the difference of the clocks.
check_expiries() {
	echo "$1" | awk '
		NR == FNR { for (i = 1; i <= NF; i++) { split($i, t, "="); mine[t[1]] = t[2] }; next }
		{ for (i = 1; i <= NF; i++) { split($i, t, "="); d = t[2] - mine[t[1]]
			if (d > 20 || d < -20) { print $i, "but here", mine[t[1]]; bad = 1 } } }
		END { exit bad }' $RUN/expiries - || fail "states end at different times"
}

as_one() {
	[ "$ROLE" = one ] || return 0
	"$@"
}

as_two() {
	[ "$ROLE" = two ] || return 0
	"$@"
}

# must_hold TCP UDP: the states must be there; equal tables alone prove nothing.
must_hold() {
	must_have "tcp $SERVER:7000 <- $CLIENT:.*$1"
	must_have "icmp $SERVER:"
	must_have "ipv6-icmp $SERVER6"
	must_have "udp $SERVER:5001 .*$2"
	must lacks_state here ":5999"
}

must_have() {
	has_state here "$1" || {
		pfctl -s states
		fail "no state like '$1'"
	}
}

# Deletes all states without telling the peer.
forget() {
	ifconfig pfsync0 down -syncdev
	pfctl -q -F states
}

[ -f "$(module_file "$MODULE")" ] || skip "needs FreeBSD's own module: --stock"
echo "$(release)-$MODULE" | publish system
barrier systems
both="$(release)-$MODULE $(ask system)"
case $version/$both in
1500/*14-stock*) skip "FreeBSD 14's own module does not read format 1500" ;;
1500/14-*\ 14-*) skip "FreeBSD 14 sends no format 1500" ;;
esac
# FreeBSD 15's own module skips every 1301 state of a rule without a route if both firewalls
# have the same rules.
OTHER_RULE=
case $ROLE/$version/$both in
two/1301/*15-stock*) OTHER_RULE="pass quick proto 99" ;;
esac
load_pfsync "$MODULE"
ifconfig lo0 inet 127.0.0.1/8 up
address here vtnet0 $HERE/24 $HERE6/64
make_jail client
make_wire here client
address here "${WIRE}a" $SERVER/24 $SERVER6/64
address client "${WIRE}b" $CLIENT/24 2001:db8:51::254/64
pf_rules here <<-RULES
	set timeout { icmp.first 500, icmp.error 600, udp.first 200, udp.single 300, udp.multiple 400 }
	set skip on { lo0 vtnet0 }
	$OTHER_RULE
	pass quick proto udp to port 5999 keep state (no-sync)
	pass quick inet6 proto icmp6 icmp6-type { neighbrsol, neighbradv, routersol, 143 } no state
	pass keep state
RULES
pfctl -q -F states
barrier addresses
ping -q -o -c 10 $THERE >/dev/null || fail "the other machine does not answer"
ping -6 -q -o -c 10 $THERE6 >/dev/null || fail "the other machine does not answer over IPv6"
start_sync
wait_for $PATIENCE in_sync here || fail "not in sync"

barrier inserts
as_one client_traffic here
compare inserted
as_two must_hold ESTABLISHED:ESTABLISHED [A-Z]
barrier inserted-held

as_one more_client_traffic
compare updated
as_two must_hold ESTABLISHED:ESTABLISHED MULTIPLE
barrier updated-held

as_two forget
barrier forgotten
as_two start_sync
wait_for $PATIENCE in_sync here || fail "the bulk update does not end"
compare bulk
as_two must_hold ESTABLISHED:ESTABLISHED MULTIPLE
barrier bulk-held

as_one pfctl -q -k $CLIENT
compare deleted
must lacks_state here $CLIENT

as_one pfctl -q -F states
compare cleared
must lacks_state here "[0-9]"
as_one close_tcp
