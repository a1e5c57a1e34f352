# SPDX-License-Identifier: BSD-2-Clause
# about: who has no key changes no state and no syncok, even with the address of the peer
# needs: programs
# machines: 2
# wires: 2
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

KEY=$(jot -b 5a -s "" 32)
INSERTS=5000
HOSTILE=20000

is_reference && skip "FreeBSD's own module has no keys"

refused() {
	counted here "packets discarded for bad HMAC"
}

# Two sends as any program can, from the address that its pfsync sends from.
pose_as_two() {
	must $VM/bin/inserts 192.0.2.1 $INSERTS >/dev/null
	must $VM/bin/hostile 192.0.2.1 $HOSTILE 1 >/dev/null
}

# Every look must find one in sync: the stranger cannot make it look otherwise.
stay_in_sync() {
	while :; do
		equal "net.pfsync.in_sync" 1 "$(value in_sync)"
		sleep 0.5
	done
}

machine
use_pfsync test
set_key "$KEY" "" YES
start_sync
wait_for 100 in_sync here || fail "not in sync"
exchange 9001 "before the stranger"
before=$(refused)
state_lines here > $RUN/before
as_one stay_in_sync &
watcher=$!
barrier "the stranger comes"
as_two pose_as_two
barrier "the stranger goes"
sleep 3
state_lines here > $RUN/after
cmp -s $RUN/before $RUN/after || fail "the states changed"
if [ "$ROLE" = one ]; then
	kill $watcher 2>/dev/null || fail "one was not in sync meanwhile"
	refused=$(($(refused) - before))
	result stranger.refused $refused
	[ $refused -ge $((INSERTS / 5)) ] || fail "only $refused packets were refused"
fi
exchange 9002 "after the stranger"
machine_off
