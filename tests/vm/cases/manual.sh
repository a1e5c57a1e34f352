# SPDX-License-Identifier: BSD-2-Clause
# about: the two firewalls in the example of pfsync(4): configuration files, handover, failure, return
# machines: 2
# wires: 3
# timeout: 1800
. /tmp/vm/lib.sh
. /tmp/vm/carp.sh

# The manual's em0, em1 and em2 are vtnet0, vtnet1 and vtnet2, under these names.
SERVER=198.51.100.9

# from_manual FILE: the lines of that file on this machine in the manual's example.
from_manual() {
	awk -v file="$1" -v machine="$ROLE" '
		/^\.Sh / { examples = /EXAMPLES/ }
		!examples { next }
		/^\.Pa / { name = $2; whose = "both" }
		/^\.Li (one|two) [:,]$/ { whose = $2 }
		/^\.Ed/ { shown = 0; whose = "" }
		shown && name == file && (whose == "both" || whose == machine) { print }
		/^\.Bd -literal/ { shown = 1 }' $VM/pfsync.4
}

# Mounts a copy of /etc over /etc until the case ends.
cover_etc() {
	cp -Rp /etc $RUN/etc
	mount -t tmpfs tmpfs /etc || fail "tmpfs on /etc"
	cp -Rp $RUN/etc/ /etc
}

write_etc() {
	local file
	for file in /etc/sysctl.conf /etc/rc.conf /etc/pf.conf /etc/rc.local; do
		from_manual $file > $file
		[ -s $file ] || [ "$file-$ROLE" = /etc/rc.local-two ] || fail "the manual has no $file"
		echo "--- $file"
		cat $file
	done
}

# Loads what the loader would load by the manual's loader.conf.
load_modules() {
	equal "modules in loader.conf" "carp pf pfsync" \
	    "$(from_manual /boot/loader.conf | sed -n 's/_load="YES"//p' | xargs)"
	need_module carp pf
	load_pfsync test
}

# Runs the rc(8) scripts that matter here, in the order of a boot.
run_rc() {
	local script
	command -v rcorder >/dev/null || fail "rcorder is missing"
	for script in $(rcorder /etc/rc.d/* 2>/dev/null); do
		case ${script##*/} in
		sysctl|hostname|netif|routing|pfsync|pf|local)
			service ${script##*/} start || fail "$script start"
			;;
		esac
	done
}

rename_wires() {
	ifconfig vtnet0 name em0 && ifconfig vtnet1 name em1 && ifconfig vtnet2 name em2
}

# The hosts are jails on two. em0 and em2 are two's interfaces to them.
hosts() {
	lan server vtnet0
	ifconfig "$OWN_INTERFACE" name em0
	address server "$JAIL_INTERFACE" 203.0.113.254/24
	address server lo0 $SERVER/32
	lan client vtnet2
	ifconfig "$OWN_INTERFACE" name em2
	address client "$JAIL_INTERFACE" 192.168.0.9/24
	jexec client route -q add default 192.168.0.1
	ifconfig vtnet1 name em1
}

# both_are STATE: whether carp is in that state for both shared addresses.
both_are() {
	carp_is "$1" em0 && carp_is "$1" em2
}

tidy_up() {
	service pf stop
	service pfsync stop
	remove_addresses em0 em1 em2
	sysctl -q net.inet.ip.forwarding=0 net.inet.carp.preempt=0 >/dev/null
	route -q delete default
	umount -f /etc
	hostname ""
}

sysctl -q net.inet6.ip6.dad_count=0 >/dev/null
cover_etc
write_etc
load_modules
if [ "$ROLE" = one ]; then
	rename_wires
	run_rc
	soon "one does not become master" both_are MASTER
	if [ "${AGAIN:-no}" = no ]; then
		barrier ready
		barrier "hand over"
		must sysctl net.inet.carp.demotion=240
		soon "one does not become backup" both_are BACKUP
		barrier "handed over"
		barrier "take back"
		must sysctl net.inet.carp.demotion=-240
		barrier "taken back"
	fi
	barrier done
	tidy_up
	ifconfig em0 name vtnet0 && ifconfig em1 name vtnet1 && ifconfig em2 name vtnet2
	exit 0
fi

hosts
run_rc
barrier ready
soon "two does not become backup" both_are BACKUP
soon "two is not in sync" in_sync here
start_numbers $SERVER
goes_on 20 "by one"
pfctl -s states
soon "two does not have the state" has_state here "203.0.113.1:.*$SERVER:7000"

echo "one hands over"
barrier "hand over"
soon "two does not become master" both_are MASTER
goes_on 30 "by two"
barrier "handed over"
echo "one takes back"
barrier "take back"
soon "two does not give way" both_are BACKUP
goes_on 30 "by one again"
barrier "taken back"

echo "one is switched off"
kill_peer
goes_on 30 "by two alone"
must both_are MASTER
echo "one boots, and takes over when it has the states"
revive_peer
wait_for 60 both_are BACKUP || fail "two does not give way to one"
goes_on 30 "by one after its start"
check_numbers
barrier done
stop_helpers
tidy_up
ifconfig em1 name vtnet1
destroy_bridges
