# SPDX-License-Identifier: BSD-2-Clause
# about: loads and unloads, creates and destroys, new and departing sync interfaces and vnets, under traffic
# needs: programs
# timeout: 3600
. /tmp/vm/lib.sh
. /tmp/vm/memory.sh

ROUNDS=${rounds:-100}

# Sends packets of many flows without end, so that states are made, change and are flushed.
traffic() {
	while :; do
		jexec one $VM/bin/blast 127.0.0.1 9 200 2000 >/dev/null
		jexec one pfctl -q -F states
	done
}

# configure WHERE END NUMBER PEER: multicast, unicast or with defer, by the number of the round.
configure() {
	case $(($3 % 3)) in
	0) jexec "$1" ifconfig pfsync0 syncdev "$SYNC$2" -defer up ;;
	1) jexec "$1" ifconfig pfsync0 syncdev "$SYNC$2" syncpeer "$4" up ;;
	2) jexec "$1" ifconfig pfsync0 -syncpeer syncdev "$SYNC$2" defer maxupd 1 up ;;
	esac || fail "configure pfsync0 in $1, round $3"
}

# A vnet that uses pfsync. It ends before the module is unloaded, after that, or meanwhile.
passing_vnet() {
	jail -c name=passing persist vnet || fail "jail"
	jexec passing ifconfig pfsync0 up || fail "pfsync0 in a new vnet"
}

# The same with another interface in place of pfsync0, and without one in place of the sync
# interface that departs.
control_round() {
	case $(($1 % 6)) in
	4 | 5) jexec one ifconfig lo1 create up && jexec one ifconfig lo1 destroy ;;
	esac || fail "lo1"
	jail -c name=passing persist vnet || fail "jail"
	jexec passing ifconfig lo1 create up || fail "lo1 in a new vnet"
	[ $(($1 % 2)) -eq 1 ] || jexec passing ifconfig lo1 destroy
	jail -r passing
}

# left_by_control BEFORE AFTER: adds what the control rounds leaked to the memory on standard input.
left_by_control() {
	awk -v before="$1" -v after="$2" '
		BEGIN {
			while ((getline < before) > 0) left[$1] -= $2
			while ((getline < after) > 0) left[$1] += $2
		}
		{ print $1, $2 + (left[$1] > 0 ? left[$1] : 0) }'
}

# The sync interface of one departs while COMMAND runs there. Which comes first is chance.
departs_during() {
	jexec one ifconfig lo1 create up || fail "lo1"
	jexec one ifconfig pfsync0 -syncpeer syncdev lo1 || fail "syncdev lo1"
	jexec one ifconfig lo1 destroy &
	jexec one "$@" 2>/dev/null
	wait $!
}

round() {
	load_pfsync test
	configure one a $1 192.0.2.2
	configure two b $(($1 + 1)) 192.0.2.1
	passing_vnet
	sleep 0.5
	case $(($1 % 6)) in
	0) jexec one ifconfig pfsync0 -syncdev ;;
	1) destroy_pfsync0 one; destroy_pfsync0 two; must jexec two ifconfig pfsync0 create ;;
	2) jexec two ifconfig pfsync0 down ;;
	3) jexec one ifconfig pfsync0 mtu 1400 ;;
	4) departs_during ifconfig pfsync0 syncdev ${SYNC}a ;;
	5) departs_during ifconfig pfsync0 destroy ;;
	esac
	sleep 0.2
	case $(($1 % 4)) in
	0) jail -r passing; unload_pfsync ;;
	1) unload_pfsync; jail -r passing ;;
	2) jail -r passing & unload_pfsync; wait $! ;;
	3) jexec two ifconfig pfsync0 destroy 2>/dev/null & unload_pfsync; wait $!; jail -r passing ;;
	esac
}

need_module pf
make_firewalls
printf 'set limit states 100000\nset skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
printf 'set limit states 100000\nset skip on %sb\npass keep state\n' "$SYNC" | pf_rules two

# FreeBSD itself leaks some memory when a vnet ends, and for an interface in it.
control_round 0
memory_in_use > $RUN/before_control
for number in $(jot $ROUNDS); do
	control_round $number
done
memory_in_use > $RUN/after_control

traffic &
HELPERS=$!
round 0
memory_in_use > $RUN/before
for number in $(jot $ROUNDS); do
	round $number
	[ $((number % 10)) -ne 0 ] || echo "round $number"
done
stop_helpers
sleep 12
memory_in_use > $RUN/after
nothing_left $RUN/after
left_by_control $RUN/before_control $RUN/after_control < $RUN/before > $RUN/expected
memory_grew $RUN/expected $RUN/after 1
grew=$(memory_grew $RUN/expected $RUN/after $((ROUNDS / 2)) | grep -v "^zone:pf_state")
[ -z "$grew" ] || fail "memory grew: $grew"
