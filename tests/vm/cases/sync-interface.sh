# SPDX-License-Identifier: BSD-2-Clause
# about: a sync interface that is destroyed and made again, renamed, or moved to another vnet and back is used again
# needs: programs
. /tmp/vm/lib.sh

STATES=0
PORT=9000

is_reference && skip "FreeBSD's own module forgets a sync interface that departs"

# Makes states on one, beyond those that are there: packets to another port.
more_states() {
	PORT=$((PORT + 1))
	STATES=$((STATES + 100))
	must jexec one $VM/bin/blast 203.0.113.2 $PORT 100 100 >/dev/null
}

# has_all WHERE: whether it has all states, says so and is not demoted.
has_all() {
	in_sync "$1" && has_states "$1" $STATES
}

# shows WHERE TEXT: whether ifconfig shows this of pfsync0.
shows() {
	at "$1" ifconfig pfsync0 | grep -q "$2"
}

gets_all() {
	wait_for 30 has_all two && return
	for where in one two; do
		at $where ifconfig pfsync0
		at $where sysctl -n net.pfsync.peers
	done
	fail "$1: only $(states_on two) states on two, or not in sync"
}

# vlan one|two: makes vlan5 over the wire. Its address of IPv6 is tentative at first.
vlan() {
	local end=a number=1
	[ "$1" = one ] || { end=b; number=2; }
	must jexec "$1" ifconfig vlan5 create vlan 5 vlandev "$SYNC$end"
	must jexec "$1" ifconfig vlan5 inet 192.0.3.$number/24 up
	must jexec "$1" ifconfig vlan5 inet6 2001:db8:3::$number/64
}

rules() {
	pf_rules "$1" <<-RULES
		set limit states 10000
		set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
		set skip on { ${SYNC}a ${SYNC}b ${MOVED}a ${MOVED}b vlan5 wan0 }
		pass keep state
	RULES
}

# both OPTION...: configures pfsync0 in one and two.
both() {
	must jexec one ifconfig pfsync0 "$@" up
	must jexec two ifconfig pfsync0 "$@" up
	gets_all "pfsync0 $*"
}

load_pfsync test
make_firewalls
make_wire one two
MOVED=$WIRE
rules one
rules two
make_sink one
vlan one
vlan two
more_states
both syncdev vlan5

for peer in 224.0.0.240 ff12::f0 192.0.3.1; do
	case $peer in
	192.*) must jexec two ifconfig pfsync0 syncpeer $peer
	       must jexec one ifconfig pfsync0 syncpeer 192.0.3.2
	       gets_all "syncpeer $peer" ;;
	*) both syncpeer $peer ;;
	esac
	echo "the sync interface is destroyed and made again, with sync peer $peer"
	must jexec two ifconfig vlan5 destroy
	must shows two "syncdev: vlan5 "
	must shows two "syncok: 0"
	more_states
	sleep 1
	vlan two
	gets_all "sync peer $peer"
	must shows two "syncdev: vlan5 "
done
both syncpeer 224.0.0.240

echo "the sync interface is renamed"
must jexec two ifconfig vlan5 name wan0 >/dev/null
must shows two "syncdev: wan0 "
more_states
gets_all "renamed"

echo "it is destroyed, and another gets its name"
must jexec two ifconfig wan0 destroy
vlan two
more_states
sleep 3
must shows two "syncok: 0"
must jexec two ifconfig vlan5 name wan0 >/dev/null
gets_all "made again and renamed"

echo "nobody waits for an interface that is no longer configured"
must jexec two ifconfig wan0 destroy
must jexec two ifconfig pfsync0 maxupd 17
must shows two "syncdev: wan0 .*maxupd: 17"
must jexec two ifconfig pfsync0 -syncdev
vlan two
must jexec two ifconfig vlan5 name wan0 >/dev/null
more_states
sleep 3
must_not shows two syncdev
must_not has_states two $STATES

echo "the sync interface is moved to another vnet and back"
must jexec one ifconfig "${MOVED}a" inet 192.0.4.1/24 up
must jexec two ifconfig "${MOVED}b" inet 192.0.4.2/24 up
must jexec one ifconfig pfsync0 syncdev "${MOVED}a"
must jexec two ifconfig pfsync0 syncdev "${MOVED}b"
gets_all "over another wire"
must ifconfig "${MOVED}b" -vnet two
must shows two "syncdev: ${MOVED}b "
must shows two "syncok: 0"
more_states
must ifconfig "${MOVED}b" vnet two
must jexec two ifconfig "${MOVED}b" inet 192.0.4.2/24 up
gets_all "moved back"
jexec two ifconfig wan0 destroy
jexec one ifconfig vlan5 destroy
