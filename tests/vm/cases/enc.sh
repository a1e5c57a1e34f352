# SPDX-License-Identifier: BSD-2-Clause
# about: pfsync over ipsec(4) with enc0 as the sync interface accepts decrypted packets and no others
# needs: programs
# timeout: 600
. /tmp/vm/lib.sh

STATES=500

is_reference && skip "FreeBSD's own module refuses the packets: their interface is the one that ESP came by"

# policies OWN PEER: packets to the peer are encrypted, packets from it must be.
policies() {
	cat <<-SETKEY
		spdadd $1 $2 pfsync -P out ipsec esp/transport//require;
		spdadd $2 $1 pfsync -P in ipsec esp/transport//require;
		add 192.0.2.1 192.0.2.2 esp 0x1000 -E aes-gcm-16 "12345678901234567890";
		add 192.0.2.2 192.0.2.1 esp 0x1001 -E aes-gcm-16 "12345678901234567890";
	SETKEY
}

# protect WHERE OWN PEER END: END is the letter of the wire's end there.
protect() {
	policies "$2" "$3" | jexec "$1" setkey -c || fail "policies in $1"
	must jexec "$1" ifconfig enc0 up
	# The rules and the command of pfsync(4).
	pf_rules "$1" <<-RULES
		pass quick on enc0 proto pfsync from 192.0.2.0/24 no state
		block in quick proto pfsync
		pass quick on ${SYNC}$4 proto esp keep state (no-sync)
		pass keep state
	RULES
	must jexec "$1" ifconfig pfsync0 syncpeer "$3" syncdev enc0 mtu 1400 up
}

refuses_unencrypted() {
	[ "$(counted two 'packets discarded for bad interface')" -gt 0 ]
}

need_module ipsec if_enc
load_pfsync test
make_firewalls
protect one 192.0.2.1 192.0.2.2 a
protect two 192.0.2.2 192.0.2.1 b
soon "one is not in sync" in_sync one
soon "two is not in sync" in_sync two
serve_udp one 5001
send_udp 198.51.100.1 5001
soon "no state on two" has_state two "198.51.100.1:5001"

echo "a bulk update"
must jexec one $VM/bin/states $STATES >/dev/null
must jexec two pfctl -q -F states
must jexec two sysctl -q net.pfsync.bulk_request=1 >/dev/null
wait_for 30 has_states two $STATES || fail "states are missing on two"
equal "packets refused for their interface" 0 "$(counted two 'packets discarded for bad interface')"

echo "one sends unencrypted packets, which pf of two passes"
echo "pass keep state" | pf_rules two
jexec one setkey -F
jexec one setkey -FP
jexec two setkey -FP
send_udp 198.51.100.1 5003
soon "two does not refuse an unencrypted packet" refuses_unencrypted
must lacks_state two "198.51.100.1:5003"
