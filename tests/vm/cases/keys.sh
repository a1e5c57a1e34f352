# SPDX-License-Identifier: BSD-2-Clause
# about: a key on one side, on both, required, changed without a gap, wrong, and not readable
# needs: programs
# machines: 2
# wires: 2
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

A=$(jot -b a1 -s "" 32)
B=$(jot -b b2 -s "" 32)
C=$(jot -b c3 -s "" 32)

is_reference && skip "FreeBSD's own module has no keys"

refused() {
	counted here "packets discarded for bad HMAC"
}

# Nothing that reads sysctls shows a key.
keys_are_hidden() {
	sysctl -a 2>/dev/null > $RUN/sysctls
	sysctl -n net.pfsync.key net.pfsync.key_also >> $RUN/sysctls 2>&1
	! grep -q -i -e "$A" -e "$B" -e a1a1a1 -e b2b2b2 $RUN/sysctls || fail "sysctl shows a key"
}

# A key file that others can read is refused, and the key stays.
open_file_is_refused() {
	echo "$C" > $RUN/open
	chmod 644 $RUN/open
	must_not env pfsync_key_enable=YES pfsync_key_file=$RUN/open sh $VM/pfsync_key start
}

machine
use_pfsync test
start_sync
wait_for 100 in_sync here || fail "not in sync"
exchange 9001 "no key"
as_one set_key "$A" "" NO
exchange 9002 "a key on one side"
as_two set_key "$A" "" NO
exchange 9003 "a key on both sides"
equal "refused so far" 0 "$(refused)"
# Until the other firewall has proved itself, what it sends is refused, and told again.
set_key "$A" "" YES
exchange 9004 "a key that is required"
refused=$(refused)
equal "net.pfsync.agreement.keyed" 2 "$(value agreement.keyed)"
keys_are_hidden

set_key "$A" "$B" YES
barrier "the new key is known"
as_one set_key "$B" "$A" YES
exchange 9005 "the new key is in use on one side"
as_two set_key "$B" "$A" YES
exchange 9006 "the new key is in use on both sides"
set_key "$B" "" YES
exchange 9007 "the old key is forgotten"
equal "refused while the key changed" "$refused" "$(refused)"

open_file_is_refused
exchange 9008 "an open key file"

barrier "before the wrong key"
as_two set_key "$C" "" YES
no_exchange 9009 "another key on each side"
[ "$(refused)" -gt "$refused" ] || fail "nothing is refused"
barrier "before the right key"
as_two set_key "$B" "" YES
exchange 9010 "the same key again"
soon "what was missed does not arrive" has_states_to 9009 40
barrier "all arrived"
compare
as_two report keys
as_two nothing_lost keys
keys_are_hidden
machine_off
