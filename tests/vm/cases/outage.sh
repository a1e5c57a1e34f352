# SPDX-License-Identifier: BSD-2-Clause
# about: a standby that missed states says so and gets them: interface down and up, pf off and on, pfctl -F, full table
# needs: programs
. /tmp/vm/lib.sh

STATES=0
PORT=9000

is_reference && skip "FreeBSD's own module says syncok: 1 after each of these"

# Makes states on one, beyond those that are there: packets to another port.
more_states() {
	PORT=$((PORT + 1))
	STATES=$((STATES + 100))
	must jexec one $VM/bin/blast 203.0.113.2 $PORT 100 100 >/dev/null
}

says_incomplete() {
	at "$1" ifconfig pfsync0 | grep -q 'syncok: 0'
}

# has_all WHERE: whether it has all states, says so and is not demoted.
has_all() {
	in_sync "$1" && has_states "$1" $STATES
}

# limit_states WHERE COUNT
limit_states() {
	jexec "$1" pfctl -q -O -m -f - <<-RULES || fail "limit of $2 states"
		set limit states $2
	RULES
}

load_pfsync test
make_firewalls
pass_for_an_hour 10000 one two
make_sink one
sync_firewalls
more_states
wait_for 30 has_all two || fail "only $(states_on two) states on two"

echo "the sync interface goes down and up"
must jexec two ifconfig "${SYNC}b" down
more_states
soon "two does not say that states are missing" says_incomplete two
sleep 2
must jexec two ifconfig "${SYNC}b" up
wait_for 30 has_all two || fail "only $(states_on two) states on two after its interface was down"

echo "pf is stopped and started"
must jexec two pfctl -q -d
more_states
soon "two does not say that states are missing" says_incomplete two
must jexec two pfctl -q -e
wait_for 30 has_all two || fail "only $(states_on two) states on two after pf was stopped"

echo "pf is restarted with empty tables"
must jexec two pfctl -q -d
must jexec two pfctl -q -F states
sleep 2
must jexec two pfctl -q -e
wait_for 30 has_all two || fail "only $(states_on two) states on two after a restart"

echo "an operator clears the states of two"
must jexec two pfctl -q -F states
must says_incomplete two
sleep 8
must says_incomplete two
must_not has_states two $STATES
must jexec two sysctl -q net.pfsync.bulk_request=1
wait_for 30 has_all two || fail "only $(states_on two) states on two after a request"

echo "pf's limit keeps states out, and is raised"
limit_states two $STATES
more_states
soon "two does not say that states are missing" says_incomplete two
sleep 5
must says_incomplete two
must_not has_states two $STATES
limit_states two 10000
wait_for 100 has_all two || fail "only $(states_on two) states on two after the limit was raised"

echo "a firewall that has everything requests a bulk update"
must jexec two sysctl -q net.pfsync.bulk_request=1
must in_sync two
must jexec two ifconfig pfsync0 down
must jexec two ifconfig pfsync0 up
must in_sync two
