# SPDX-License-Identifier: BSD-2-Clause
# about: FreeBSD's own test of that name, from /usr/tests/sys/netpfil/pf
# param: test basic basic_defer defer bulk pbr pfsync_pbr ipsec timeout basic_ipv6_unicast basic_ipv6 route_to rtable route_to_1301 route_to_1301_bad_ruleset route_to_1301_bad_rpool route_to_1400_bad_ruleset route_to_1400_bad_ifname af_to_in_floating af_to_in_if_bound af_to_out_if_bound tag altq_queues rt_af
# timeout: 900
. /tmp/vm/lib.sh

DIR=/usr/tests/sys/netpfil/pf
SUITE=
for file in $DIR/pfsync $DIR/pfsync.sh; do
	[ -f $file ] && SUITE=$file
done
[ -n "$SUITE" ] && [ -x /usr/libexec/atf-sh ] || skip "the image has no FreeBSD tests (/usr/tests)"

# suite PART: runs a part of the test in a directory of its own, where the test notes what to clean up.
suite() {
	( cd $RUN && /usr/libexec/atf-sh $SUITE -s $DIR -r $RUN/verdict "$1" )
}

# needs_helper FILE: skips the case if FILE, which the test uses, needs a Python that the image lacks.
needs_helper() {
	case $(head -n 1 "$1") in
	*python*) python3 -c 'import scapy' 2>/dev/null || skip "needs Python and scapy in the image" ;;
	esac
}

grep -q "atf_add_test_case \"$test\"" $SUITE || skip "FreeBSD $(uname -r) has no such test"
case $test in
defer) needs_helper $DIR/pfsync_defer.py ;;
route_to* | af_to_* | tag | rt_af) needs_helper $DIR/../common/pft_ping.py ;;
pbr | pfsync_pbr) need_module carp if_bridge ;;
ipsec) need_module ipsec if_enc ;;
esac
need_module if_epair if_bridge
load_pfsync test
suite "$test"
suite "$test:cleanup"
# The clean-up of the suite does not know interfaces by the names that a test gave them,
# and on FreeBSD 15.0 there is none after route_to_1301.
for left in $(jls name); do
	jail -r "$left"
done
for left in $(ifconfig -g epair 2>/dev/null); do
	ifconfig "$left" destroy 2>/dev/null
done
verdict=$(cat $RUN/verdict)
case $verdict in
passed*) ;;
skipped*) skip "$verdict" ;;
*) fail "$verdict" ;;
esac
