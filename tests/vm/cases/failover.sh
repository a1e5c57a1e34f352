# about: a TCP transfer through a carp pair goes on when the master is switched off, and when it is back
# machines: 2
# wires: 3
# timeout: 1200
. /tmp/vm/lib.sh

# Machine one is the master. Machine two is the backup, and has client and server
# in jails; bridges join them to both firewalls:
#
#   client 10.1.0.9 --+-- vtnet1 -- one -- vtnet2 --+-- server 10.2.0.9
#           (inside)  +---- I ----- two ---- O -----+  (outside)
#                           vtnet0 is the sync interface
GATEWAY_IN=10.1.0.1
GATEWAY_OUT=10.2.0.1
SERVER=10.2.0.9

# firewall SKEW LAST INSIDE OUTSIDE: pf, carp and pfsync; addresses end in LAST.
firewall() {
	sysctl -q net.inet.ip.forwarding=1 net.inet.carp.preempt=1 >/dev/null
	address here "$3" "10.1.0.$2/24"
	address here "$4" "10.2.0.$2/24"
	address here vtnet0 "192.0.2.$2/24"
	pf_rules here <<-RULES
		set skip on { lo0 vtnet0 }
		block all
		pass quick proto carp keep state (no-sync)
		pass proto { tcp icmp } keep state
	RULES
	# The states come before the addresses, so that a returning master knows them.
	ifconfig pfsync0 up syncdev vtnet0 || fail "pfsync0"
	ifconfig "$3" vhid 1 advskew "$1" pass secret alias $GATEWAY_IN/32 || fail "carp on $3"
	ifconfig "$4" vhid 2 advskew "$1" pass secret alias $GATEWAY_OUT/32 || fail "carp on $4"
}

# carp_is STATE INTERFACE
carp_is() {
	ifconfig "$2" | grep -q "carp: $1 "
}

# lan NAME WIRE: a bridge of a virtual wire, the backup firewall and a jail.
lan() {
	local bridge
	make_jail "$1"
	make_wire "$1" here
	bridge=$(ifconfig bridge create) || fail "bridge"
	BRIDGES="$BRIDGES $bridge"
	ifconfig "$2" up
	ifconfig "${WIRE}b" up
	NEAR="${WIRE}a"
	make_wire here here
	ifconfig "${WIRE}a" up
	ifconfig "$bridge" addm "$2" addm "${NEAR%a}b" addm "${WIRE}a" up || fail "bridge"
}

# The server counts, a line each tenth of a second, for as long as somebody listens.
serve_numbers() {
	number=0
	while :; do
		number=$((number + 1))
		echo $number
		sleep 0.1
	done | jexec server nc -l 7000
}

numbers() {
	wc -l < $RUN/numbers
}

# goes_on SECONDS WHAT: thirty more numbers arrive in that time.
goes_on() {
	reached=$(($(numbers) + 30))
	wait_for "$1" more_numbers || fail "$2: the transfer stopped after $(numbers) numbers"
}

more_numbers() {
	[ "$(numbers)" -ge $reached ]
}

backup_and_hosts() {
	need_module if_bridge
	sysctl -q net.link.bridge.pfil_member=0 net.link.bridge.pfil_bridge=0 >/dev/null
	BRIDGES=
	lan client vtnet1
	INSIDE=${WIRE}b
	address client "$NEAR" 10.1.0.9/24
	lan server vtnet2
	OUTSIDE=${WIRE}b
	address server "$NEAR" $SERVER/24
	jexec client route -q add default $GATEWAY_IN
	jexec server route -q add default $GATEWAY_OUT
	firewall 100 3 "$INSIDE" "$OUTSIDE"
}

need_module carp
load_pfsync test
sysctl -q net.inet6.ip6.dad_count=0 >/dev/null
if [ "$ROLE" = one ]; then
	firewall 0 2 vtnet1 vtnet2
	soon "one does not become master" carp_is MASTER vtnet1
	[ "${AGAIN:-no}" = yes ] || barrier ready
	barrier done
	exit 0
fi

backup_and_hosts
barrier ready
soon "two does not become backup" carp_is BACKUP "$INSIDE"
soon "two does not become backup" carp_is BACKUP "$OUTSIDE"
serve_numbers &
HELPERS="$HELPERS $!"
sleep 1
helper client nc $SERVER 7000 >$RUN/numbers
goes_on 20 "with the master"
pfctl -s states | grep -q "$SERVER:7000" || fail "the backup does not have the state"

echo "the master is switched off"
kill_peer
goes_on 30 "without the master"
must carp_is MASTER "$INSIDE"

echo "the master is back"
revive_peer
wait_for 60 carp_is BACKUP "$INSIDE" || fail "two does not give way to the master"
goes_on 30 "with the master again"
count=$(numbers)
jot "$count" 1 > $RUN/expected
head -n "$count" $RUN/numbers | cmp -s - $RUN/expected || fail "numbers are missing or wrong"
barrier done
stop_helpers
for bridge in $BRIDGES; do
	ifconfig "$bridge" destroy
done
