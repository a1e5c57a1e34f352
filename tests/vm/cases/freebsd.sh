# SPDX-License-Identifier: BSD-2-Clause
# about: FreeBSD's own test of that name, from /usr/tests/sys/netpfil/pf
# param: test basic basic_defer defer bulk pbr pfsync_pbr ipsec timeout basic_ipv6_unicast basic_ipv6 route_to
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

case $test in
defer) needs_helper $DIR/pfsync_defer.py ;;
route_to) needs_helper $DIR/../common/pft_ping.py ;;
pbr | pfsync_pbr) need_module carp if_bridge ;;
ipsec) need_module ipsec if_enc ;;
esac
need_module if_epair if_bridge
load_pfsync test
suite "$test"
suite "$test:cleanup"
verdict=$(cat $RUN/verdict)
case $verdict in
passed*) ;;
skipped*) skip "$verdict" ;;
*) fail "$verdict" ;;
esac
