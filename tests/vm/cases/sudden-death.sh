# SPDX-License-Identifier: BSD-2-Clause
# about: how many of the connections through a carp pair live on when the master dies, by age, with both modules
# needs: stock programs
# param: rate 50 500
# timeout: 1200
. /tmp/vm/lib.sh
. /tmp/vm/carp.sh

# All are jails. Bridges join them, so that the cables of one can be cut from outside.
#
#   client -- inside --+-- one --+-- outside -- server
#                      +-- two --+
#                       sync wire

# Connections a second; the master dies after three.
COUNT=$((rate * 4))
SERVER=10.2.0.9
CABLES=

# make_bridge JAIL...: joins jails by a bridge. Sets ENDS to the interfaces in the jails, in order,
# and CABLES to those that lead to one.
make_bridge() {
	local bridge jail
	need_module bridgestp if_bridge
	sysctl -q net.link.bridge.pfil_member=0 net.link.bridge.pfil_bridge=0 >/dev/null
	bridge=$(ifconfig bridge create) || fail "bridge"
	BRIDGES="$BRIDGES $bridge"
	ENDS=
	for jail in "$@"; do
		make_wire "$jail" here
		ifconfig "${WIRE}b" up
		ifconfig "$bridge" addm "${WIRE}b" || fail "bridge"
		ENDS="$ENDS ${WIRE}a"
		[ "$jail" != one ] || CABLES="$CABLES ${WIRE}b"
	done
	ifconfig "$bridge" up
}

# firewall JAIL SKEW LAST SYNC INSIDE OUTSIDE: addresses end in LAST.
firewall() {
	jexec "$1" sysctl -q net.inet.ip.forwarding=1 net.inet.carp.preempt=1 >/dev/null
	address "$1" "$4" "192.0.2.$3/24"
	address "$1" "$5" "10.1.0.$3/24"
	address "$1" "$6" "10.2.0.$3/24"
	pf_rules "$1" <<-RULES
		set limit states 100000
		set skip on { lo0 $4 }
		block all
		pass quick proto carp keep state (no-sync)
		pass proto { tcp icmp } keep state
	RULES
	jexec "$1" ifconfig "$5" vhid 1 advskew "$2" pass secret alias 10.1.0.1/32 || fail "carp in $1"
	jexec "$1" ifconfig "$6" vhid 2 advskew "$2" pass secret alias 10.2.0.1/32 || fail "carp in $1"
}

is_master() {
	[ "$(jexec "$1" ifconfig | grep -c "carp: MASTER ")" -eq 2 ]
}

is_backup() {
	[ "$(jexec "$1" ifconfig | grep -c "carp: BACKUP ")" -eq 2 ]
}

# count_ages DEATH: of the connections that were opened before the master died, how many were made
# and live on, by age at that moment. Alive is one of which a byte came back five seconds later.
count_ages() {
	awk -v death="$1" '
		$1 > 0 && $1 < death {
			age = (death - $1) / 1000
			class = age < 10 ? "0-10" : age < 50 ? "10-50" : age < 200 ? "50-200" : age < 1000 ? "200-1000" : "1000-"
			made[class]++
			if ($2 > death + 5000000)
				alive[class]++
		}
		END {
			for (class in made)
				print class, made[class], alive[class] + 0
		}' $RUN/connections | sort -n
}

# measure MODULE NAME: sets NAME_dead to the number of dead connections that were older than 50 ms.
measure() {
	local client death class made alive dead=0 all=0
	load_pfsync "$1"
	for cable in $CABLES; do
		ifconfig "$cable" up
	done
	jexec one ifconfig pfsync0 syncdev "$SYNC_ONE" up || fail "pfsync0 in one"
	jexec two ifconfig pfsync0 syncdev "$SYNC_TWO" up || fail "pfsync0 in two"
	wait_for 60 in_sync one || fail "one is not in sync"
	wait_for 60 in_sync two || fail "two is not in sync"
	wait_for 60 is_master one || fail "one does not become master"
	wait_for 60 is_backup two || fail "two does not become backup"
	jexec one pfctl -q -F states
	sleep 2
	jexec client ping -q -c 3 $SERVER >/dev/null || fail "the server does not answer"
	jexec client $VM/bin/trickle $SERVER 7000 "$rate" $COUNT 40 >$RUN/connections &
	client=$!
	sleep 3
	death=$($VM/bin/cut $CABLES)
	wait_for 30 is_master two || fail "two does not become master"
	wait $client || fail "the connections failed"
	count_ages "$death" > $RUN/ages
	while read -r class made alive; do
		result "$2.age-$class.made" "$made"
		result "$2.age-$class.alive" "$alive"
		case $class in
		0-10 | 10-50) ;;
		*) dead=$((dead + made - alive)) ;;
		esac
		all=$((all + made))
	done < $RUN/ages
	[ "$all" -ge "$rate" ] || fail "only $all connections were made"
	eval "$2_dead=$dead"
}

need_module pf carp
make_jail client server one two
make_bridge one two
SYNC=$ENDS
make_bridge one two client
INSIDE=$ENDS
make_bridge one two server
set -- $SYNC $INSIDE $ENDS
SYNC_ONE=$1 SYNC_TWO=$2
address client "$5" 10.1.0.9/24
address server "$8" $SERVER/24
jexec client route -q add default 10.1.0.1
jexec server route -q add default 10.2.0.1
firewall one 0 2 "$1" "$3" "$6"
firewall two 100 3 "$2" "$4" "$7"
helper server $VM/bin/trickle serve 7000
measure_both
destroy_bridges
is_reference || equal "dead connections older than 50 ms" 0 "$rust_dead"
