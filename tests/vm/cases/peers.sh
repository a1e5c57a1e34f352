# SPDX-License-Identifier: BSD-2-Clause
# about: what operators see of peers: net.pfsync.peers, pfsync-status, and the numbers in prometheus_sysctl_exporter(8)
# needs: programs
# machines: 2
# wires: 2
# timeout: 900
. /tmp/vm/lib.sh
. /tmp/vm/machines.sh

is_reference && skip "FreeBSD's own module knows no peers"

# status_is STATUS WORDS: the exit status of pfsync-status, and the words that its first line begins with.
status_is() {
	local status=0
	sh $VM/pfsync-status > $RUN/status || status=$?
	[ "$status $(head -n 1 $RUN/status)" = "$1 $2" ]
}

must_be() {
	wait_for "$1" status_is "$2" "$3" || {
		cat $RUN/status
		fail "pfsync-status does not say $2, $3"
	}
}

# The state of the other machine in the table.
state_in_table() {
	sysctl -n net.pfsync.peers | awk -v address=$THERE '$1 == address { $1 = $2 = $3 = $4 = $5 = $6 = $7 = $8 = $9 = ""; print }' |
	    tr -s ' ' | sed 's/^ //'
}

# exported NAME: the value that a monitoring system gets.
exported() {
	prometheus_sysctl_exporter -d "net.pfsync.$1" > $RUN/exported || fail "net.pfsync.$1 is not exported"
	grep -q '^# HELP' $RUN/exported || fail "net.pfsync.$1 has no description"
	awk '!/^#/ { print $2 }' $RUN/exported
}

machine
use_pfsync test
must_be 5 2 "pfsync0 is down"
must ifconfig pfsync0 up
must_be 5 2 "pfsync0 has no sync interface"
start_sync
wait_for 100 in_sync here || fail "not in sync"
barrier "in sync"
must_be 10 0 "in sync"
cat $RUN/status
sysctl -n net.pfsync.peers
equal "state in the table" "in sync" "$(state_in_table)"
exchange 9001 "states of both"
equal "net.pfsync.peer.0.present" 1 "$(value peer.0.present)"
equal "net.pfsync.peer.0.state" 1 "$(value peer.0.state)"
[ "$(value peer.0.frames)" -gt 0 ] || fail "no frames are counted"
if command -v prometheus_sysctl_exporter >/dev/null; then
	for name in in_sync agreement.missing agreement.lost peer.0.state peer.0.frames; do
		echo "exported: $name $(exported $name)"
	done
fi
barrier "before the cut"
as_one wire 0 both cut
must_be 90 2 "no peer that numbers its packets is heard"
equal "state in the table" "silent" "$(state_in_table)"
barrier "silent"
as_one wire 0 both pass
must_be 15 0 "in sync"
barrier "heard again"
must sysctl -q net.pfsync.numbered=0
must_be 5 2 "net.pfsync.numbered is 0"
machine_off
