# SPDX-License-Identifier: BSD-2-Clause

# Functions for test cases. Each case reads this file with `. /tmp/vm/lib.sh`. It
# runs in the guest and needs only FreeBSD's base system. A case exits with 0
# (passed), 77 (skipped), 75 (the other machine gave up) or any other status
# (failed). When a case exits, `cleanup` removes whatever the case made.

VM=/tmp/vm
RUN=$VM/run
SKIPPED=77
ABANDONED=75
rm -rf $RUN
mkdir -p $RUN
: > $RUN/jails
: > $RUN/wires
trap cleanup EXIT

# Whether the module under test is FreeBSD's own, which does not pass every check.
is_reference() {
	[ "${REFERENCE:-no}" = yes ]
}

# --- messages to the harness ------------------------------------------------

# Ends the case as failed.
fail() {
	echo "FAIL: $*"
	exit 1
}

# Ends the case as skipped: it cannot run in this guest.
skip() {
	echo "@skip $*"
	exit $SKIPPED
}

# result KEY VALUE: adds a line to the table that the harness prints at the end.
result() {
	echo "@result $1=$2"
	echo "  measured: $1 = $2"
}

# Waits until the other machine is at the barrier of the same name.
barrier() {
	local answer
	echo "@barrier $1"
	read -r answer <&3
	[ "$answer" = go ] || {
		echo "FAIL: the other machine did not come to barrier $1"
		exit $ABANDONED
	}
}

# publish KEY: passes the lines of standard input to the harness, for must_match and ask.
publish() {
	local line
	while IFS= read -r line; do
		echo "@publish $1 $line"
	done
}

# The case fails unless both machines published the same lines under this key.
must_match() {
	echo "@must-match $1"
}

# Prints the last line that the other machine published under this key.
ask() {
	local answer
	echo "@ask $1" >&2
	read -r answer <&3
	echo "$answer"
}

# Switches the other machine off, as a power failure does.
kill_peer() {
	local answer
	echo "@kill-peer"
	read -r answer <&3
}

# Boots the other machine, whose script starts again with AGAIN=yes.
revive_peer() {
	local answer
	echo "@revive-peer"
	read -r answer <&3
}

# wire NUMBER one|two|both WORD...: changes what the virtual wire of that number does to the frames
# that a machine sends, or that both send; src/wire.rs explains the words:
#   loss=N double=N reorder=N reflect=N cut rejoin record=N replay return seed=N pass count
# Sets COUNTS to the counts of frames. At the start of a case, the wires pass everything.
wire() {
	echo "@wire $*"
	read -r COUNTS <&3
	case $COUNTS in
	error:*) fail "wire $*: $COUNTS" ;;
	esac
}

# count_of WORD: a number in COUNTS, the sum of both directions.
count_of() {
	echo "$COUNTS" | tr ';' ' ' | awk -v word="$1" '
		{ for (i = 1; i < NF; i++) if ($i == word) sum += $(i + 1) }
		END { print sum + 0 }'
}

# --- modules ----------------------------------------------------------------

# need_module NAME...: loads modules of the base system, from the image or the --modules directory.
need_module() {
	local name
	for name in "$@"; do
		kldload -n "$name" 2>/dev/null ||
		    kldload "$VM/modules/$name.ko" 2>/dev/null ||
		    kldstat -q -m "$name" || skip "the image has no module $name"
	done
}

# module_file test|stock: the file of the module under test, or of FreeBSD's own.
module_file() {
	case $1 in
	test) echo $VM/pfsync.ko ;;
	stock) echo $VM/stock/pfsync.ko ;;
	esac
}

# load_pfsync test|stock: loads that pfsync.ko in place of any other.
load_pfsync() {
	local file
	unload_pfsync
	need_module pf
	file=$(module_file "$1")
	note_loading "$1"
	kldload "$file" || fail "kldload $file"
	kldstat -v | grep -q "($file)" || fail "kldstat does not show $file"
}

unload_pfsync() {
	if kldstat -q -n pfsync.ko; then
		kldunload pfsync || fail "kldunload pfsync"
		note_loading none
	fi
	! kldstat -q -m pfsync || fail "pfsync is part of this kernel"
}

# note_loading test|stock|none: tells the harness which module the kernel's next reports are about.
note_loading() {
	local answer
	echo "@loading $1"
	read -r answer <&3
}

# destroy_pfsync0 [JAIL]: fails, and leaves the interface as it was, if the module refuses.
# FreeBSD's own refuses: every vnet must have the interface.
destroy_pfsync0() {
	local within said
	within="${1:+jexec $1}"
	if said=$($within ifconfig pfsync0 destroy 2>&1); then
		must_not $within ifconfig pfsync0
		return 0
	fi
	case $said in
	*"Invalid argument"*) must $within ifconfig pfsync0 >/dev/null ;;
	*) fail "destroying pfsync0 says: $said" ;;
	esac
	return 1
}

# --- waiting and checking ---------------------------------------------------

# wait_for SECONDS COMMAND...: tries a command until it succeeds.
wait_for() {
	local tries=$(($1 * 5))
	shift
	while [ $tries -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.2
		tries=$((tries - 1))
	done
	return 1
}

# soon WHAT COMMAND...: the command must succeed within ten seconds.
soon() {
	local what=$1
	shift
	wait_for 10 "$@" || fail "$what"
}

# must COMMAND...: the command must succeed.
must() {
	"$@" || fail "$*"
}

# must_not COMMAND...: the command must fail; its output is hidden.
must_not() {
	! "$@" >/dev/null 2>&1 || fail "succeeded: $*"
}

# equal WHAT EXPECTED FOUND
equal() {
	[ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
}

# --- jails and wires --------------------------------------------------------

# make_jail NAME...: jails with a vnet of their own.
make_jail() {
	local name
	for name in "$@"; do
		jail -c name="$name" persist vnet || fail "cannot make jail $name"
		echo "$name" >> $RUN/jails
		jexec "$name" ifconfig lo0 inet 127.0.0.1/8 up
		jexec "$name" ifconfig lo0 inet6 ::1/128
	done
}

# make_wire A B: joins two jails, or a jail and `here`, by an epair. Sets WIRE to
# its name without the last letter, a or b.
make_wire() {
	need_module if_epair
	WIRE=$(ifconfig epair create) || fail "cannot make an epair"
	WIRE=${WIRE%a}
	echo "$1 $WIRE" >> $RUN/wires
	move_interface "${WIRE}a" "$1"
	move_interface "${WIRE}b" "$2"
}

move_interface() {
	[ "$2" = here ] || ifconfig "$1" vnet "$2" || fail "cannot move $1 to $2"
}

# at WHERE COMMAND...: runs a command in a jail, or outside of all jails if WHERE is `here`.
at() {
	local where=$1
	shift
	if [ "$where" = here ]; then
		"$@"
	else
		jexec "$where" "$@"
	fi
}

# address WHERE INTERFACE ADDRESS...: adds IPv4 or IPv6 addresses with prefix lengths.
address() {
	local where=$1 interface=$2 addr
	shift 2
	for addr in "$@"; do
		case $addr in
		*:*) at "$where" ifconfig "$interface" inet6 "$addr" no_dad up ;;
		*) at "$where" ifconfig "$interface" inet "$addr" alias up ;;
		esac || fail "address $addr on $interface in $where"
	done
}

# pf_rules WHERE: enables pf with the rules on standard input.
pf_rules() {
	at "$1" pfctl -q -f - || fail "rules in $1"
	at "$1" pfctl -q -e 2>/dev/null
	at "$1" pfctl -si 2>/dev/null | grep -q '^Status: Enabled' || fail "pf is off in $1"
}

# pass_all WHERE...: pf keeps a state for everything but the traffic on the sync wire.
pass_all() {
	local where
	for where in "$@"; do
		pf_rules "$where" <<-RULES
			set skip on { ${SYNC}a ${SYNC}b }
			pass keep state
		RULES
	done
}

# pass_for_an_hour LIMIT WHERE...: the same, for at most LIMIT UDP states, which last an hour.
pass_for_an_hour() {
	local limit=$1 where
	shift
	for where in "$@"; do
		pf_rules "$where" <<-RULES
			set limit states $limit
			set timeout { udp.first 3600, udp.single 3600, udp.multiple 3600 }
			set skip on { ${SYNC}a ${SYNC}b }
			pass keep state
		RULES
	done
}

# Two firewalls, one and two, joined by a sync wire, and a client on a wire to one:
#   client 198.51.100.254 -- 198.51.100.1 one 192.0.2.1 -- 192.0.2.2 two
make_firewalls() {
	make_jail one two client
	make_wire one two
	SYNC=$WIRE
	address one "${SYNC}a" 192.0.2.1/24 2001:db8:2::1/64
	address two "${SYNC}b" 192.0.2.2/24 2001:db8:2::2/64
	make_wire one client
	LAN=$WIRE
	address one "${LAN}a" 198.51.100.1/24 2001:db8:51::1/64
	address client "${LAN}b" 198.51.100.254/24 2001:db8:51::254/64
}

# start_pfsync one|two OPTION...: brings pfsync0 up in a firewall, with options of ifconfig.
start_pfsync() {
	local where=$1 end=a
	shift
	[ "$where" = one ] || end=b
	jexec "$where" ifconfig pfsync0 syncdev "$SYNC$end" "$@" up || fail "pfsync0 in $where"
}

# sync_firewalls OPTION...: starts pfsync in one and two and waits for the bulk updates to end.
sync_firewalls() {
	start_pfsync one "$@"
	start_pfsync two "$@"
	soon "one is not in sync" in_sync one
	soon "two is not in sync" in_sync two
}

# in_sync WHERE: whether the bulk update that pfsync requested has ended.
in_sync() {
	at "$1" ifconfig pfsync0 | grep -q 'syncok: 1'
}

# Removes what the case made and keeps the exit status.
cleanup() {
	local status=$? owner wire name
	trap - EXIT
	stop_helpers
	while read -r owner wire; do
		at "$owner" ifconfig "${wire}a" destroy
	done < $RUN/wires 2>/dev/null
	while read -r name; do
		jail -r "$name"
	done < $RUN/jails
	# An unload that fails fails the case, but hides no earlier failure.
	( unload_pfsync ) || [ $status -ne 0 ] || status=1
	exit $status
}

# --- programs in the background ---------------------------------------------

HELPERS=

# helper WHERE COMMAND...: runs a command in the background until stop_helpers or the end of the case.
helper() {
	local where=$1
	shift
	if [ "$where" = here ]; then
		"$@" <&0 4>&- &
	else
		jexec "$where" "$@" <&0 4>&- &
	fi
	HELPERS="$HELPERS $!"
}

stop_helpers() {
	[ -z "$HELPERS" ] || kill $HELPERS 2>/dev/null
	wait 2>/dev/null
	HELPERS=
}

# serve_udp WHERE PORT: receives datagrams on a port and answers the first.
serve_udp() {
	echo back > $RUN/back
	helper "$1" nc -u -l "$2" <$RUN/back >/dev/null
	wait_for 5 udp_listens "$1" "$2" || fail "nc does not listen"
}

udp_listens() {
	at "$1" netstat -an -p udp | grep -q "[.]$2 "
}

# send_udp ADDRESS PORT: sends a datagram from the client, always from the same port.
send_udp() {
	echo hello | jexec client nc -u -w 1 -p 4000 "$1" "$2" >/dev/null 2>&1
}

# open_tcp WHERE ADDRESS PORT: connects the client to a listener at WHERE. Until
# close_tcp, the client sends what is written to descriptor 4.
open_tcp() {
	helper "$1" nc -l "$3" >/dev/null
	wait_for 5 tcp_listens "$1" "$3" || fail "nc does not listen"
	mkfifo $RUN/typed
	exec 4<>$RUN/typed
	helper client nc -N "$2" "$3" <$RUN/typed >/dev/null
}

tcp_listens() {
	at "$1" netstat -an -p tcp | grep -q "[.]$2 .*LISTEN"
}

close_tcp() {
	exec 4>&-
	rm $RUN/typed
}

# client_traffic WHERE: the client opens connections to WHERE, at $SERVER and $SERVER6: TCP to port
# 7000, until close_tcp; UDP to ports 5001 and 5999; and pings.
client_traffic() {
	serve_udp "$1" 5001
	open_tcp "$1" "$SERVER" 7000
	echo first >&4
	jexec client ping -q -c 1 "$SERVER" >/dev/null || fail "ping"
	jexec client ping -6 -q -c 1 "$SERVER6" >/dev/null || fail "ping over IPv6"
	send_udp "$SERVER" 5001
	send_udp "$SERVER" 5999
}

# more_client_traffic: the client sends more by the connections over TCP and to port 5001.
more_client_traffic() {
	dd if=/dev/zero bs=1k count=200 2>/dev/null >&4
	send_udp "$SERVER" 5001
}

# --- what pf and pfsync say -------------------------------------------------

# has_state WHERE PATTERN: whether a line of the state table matches.
has_state() {
	at "$1" pfctl -s states 2>/dev/null | grep -q -E "$2"
}

lacks_state() {
	! has_state "$1" "$2"
}

# release: the number of the release in front of the dot.
release() {
	uname -r | cut -d . -f 1
}

# own_format VERSION: that message format, or the newest that this release sends.
own_format() {
	if [ "$1" -gt 1400 ] && [ "$(release)" -lt 15 ]; then
		echo 1400
	else
		echo "$1"
	fi
}

# Before FreeBSD 15, pfctl prints sequence numbers in network byte order.
prints_wire_order() {
	[ "$(release)" -lt 15 ]
}

# state_lines WHERE: id, creator id, keys and endpoints of every state, one a line, sorted.
# Sequence numbers are in host byte order.
state_lines() {
	local swap=0
	! prints_wire_order || swap=1
	at "$1" pfctl -vv -s states 2>/dev/null | awk -v swap=$swap '
		# The number with its four bytes in the other order.
		function other(n, swapped, byte) {
			for (byte = 0; byte < 4; byte++) {
				swapped = swapped * 256 + n % 256
				n = int(n / 256)
			}
			return swapped
		}
		# One endpoint: [LOW + WINDOW](+DIFFERENCE)
		function convert(text, part, low, high, window) {
			split(text, part, /[^0-9]+/)
			low = other(part[2])
			high = other((part[2] + part[3]) % 4294967296)
			window = (high - low + 4294967296) % 4294967296
			text = sprintf("[%.0f + %.0f]", low, window)
			return part[4] == "" ? text : sprintf("%s(+%.0f)", text, other(part[4]))
		}
		function converted(rest, done) {
			while (match(rest, /\[[0-9]+ \+ [0-9]+\](\(\+[0-9]+\))?/)) {
				done = done substr(rest, 1, RSTART - 1) convert(substr(rest, RSTART, RLENGTH))
				rest = substr(rest, RSTART + RLENGTH)
			}
			return done rest
		}
		/^[^ ]/ { state = $0; seq = "" }
		/^   \[/ { gsub(/ +/, " "); seq = swap ? converted($0) : $0 }
		/^   id:/ { print $2, $4, state, seq }' | sort
}

# counted WHERE WORDS: the number in front of these words in `netstat -s -p pfsync`. The words
# are those for several; for one, netstat says "1 packet discarded" or "1 state insert".
counted() {
	at "$1" netstat -s -p pfsync | sed 's/^[[:space:]]*//' | awk -v words="$2" '
		{
			n = $1
			sub(/^[0-9]+ /, "")
			several = $0
			sub(/^[a-z]+/, "&s", several)
		}
		$0 == words || $0 "s" == words || several == words { print n; exit }'
}

# sent WHERE MESSAGE, received WHERE MESSAGE: how many messages of a kind, named as netstat does.
# Whole states count in any format: netstat names the release in front of earlier formats.
sent() {
	message_count "$1" "$2" sent
}

received() {
	message_count "$1" "$2" received
}

message_count() {
	local name count sum=0
	for name in "$2" "13.1 $2" "14.0 $2"; do
		count=$(counted "$1" "$name $3")
		count=${count:-$(counted "$1" "${name}s $3")}
		sum=$((sum + ${count:-0}))
	done
	echo $sum
}

# --- measuring --------------------------------------------------------------

# measure_both: calls the case's `measure` for each module, as `measure stock c` and `measure
# test rust`. Then no module is loaded.
measure_both() {
	measure stock c
	measure test rust
	unload_pfsync
}

# states_on WHERE: how many states pf had a moment ago, when its purge thread counted them.
states_on() {
	at "$1" pfctl -si 2>/dev/null | awk '/current entries/ { print $3 }'
}

# has_states WHERE COUNT: whether pf has at least so many states.
has_states() {
	[ "$(states_on "$1")" -ge "$2" ]
}

is_empty() {
	[ "$(states_on "$1")" = 0 ]
}

# make_sink WHERE [COUNT]: an interface that swallows what is sent to 203.0.113.2, or to COUNT
# addresses from there on.
make_sink() {
	local bridge last
	need_module bridgestp if_bridge
	bridge=$(at "$1" ifconfig bridge create) || fail "cannot make a bridge"
	address "$1" "$bridge" 203.0.113.1/24
	for last in $(jot "${2:-1}" 2); do
		must at "$1" arp -s "203.0.113.$last" 02:00:00:00:00:02 >/dev/null
	done
}

# Packets that pfsync made on one: those that were sent, and those that a full queue dropped.
packets_sent() {
	echo $(($(counted one 'packets sent (IPv4)') + $(jexec one netstat -dn -I pfsync0 | awk 'NR == 2 { print $NF }')))
}

# inserts_arrive COUNT RATE FIRST: one, without pfsync, sends two the inserts of COUNT states, RATE
# of them a second (0: as fast as it can), after FIRST that two has. Sets `found` to how many two
# took in, and `took` to the milliseconds until the last came.
inserts_arrive() {
	local start last
	# Without a new state for five seconds, the missing states count as lost.
	jexec two $VM/bin/arrival $(($3 + $1)) 5 > $RUN/arrival &
	jexec one $VM/bin/inserts 192.0.2.2 "$1" "$2" "$3" > $RUN/start || fail "cannot send inserts"
	wait $!
	read -r start < $RUN/start
	read -r found last < $RUN/arrival
	found=$((found - $3)) took=$((last - start))
}

# ratio A B: A divided by B; both may be expressions.
ratio() {
	awk "BEGIN { if (($2) == 0) print \"none\"; else printf \"%.4f\\n\", ($1) / ($2) }"
}

# Milliseconds for which the threads have run that take packets from the wire.
busy_receiving() {
	ps -axHo time,tdname | awk '$2 ~ /^epair_task/ {
		split($1, part, /[:.]/)
		sum += part[1] * 60000 + part[2] * 1000 + part[3] * 10
	} END { print sum + 0 }'
}

# Bytes in use in all zones of the kernel's allocator.
bytes_in_use() {
	vmstat -z | awk -F '[:,] *' 'NF > 4 { sum += $2 * $4 } END { printf "%d\n", sum }'
}
