# Words for test cases. Read by each case with `. /tmp/vm/lib.sh`; runs in the
# guest and needs only FreeBSD's base system. A case ends with status 0 (passed),
# 77 (skipped), 75 (the other machine gave up) or any other (failed), and leaves
# nothing behind: see cleanup.

VM=/tmp/vm
RUN=$VM/run
SKIPPED=77
ABANDONED=75
rm -rf $RUN
mkdir -p $RUN
: > $RUN/jails
: > $RUN/wires
trap cleanup EXIT

# Whether the module under test is FreeBSD's own, which lacks some of what is tested.
is_reference() {
	[ "${REFERENCE:-no}" = yes ]
}

# --- talking to the harness -------------------------------------------------

# Ends the case as failed.
fail() {
	echo "FAIL: $*"
	exit 1
}

# Ends the case as one that cannot run in this guest.
skip() {
	echo "@skip $*"
	exit $SKIPPED
}

# result KEY VALUE: a line in the harness's closing table.
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

# publish KEY: gives the lines of standard input to the other machine and the harness.
publish() {
	local line
	while IFS= read -r line; do
		echo "@publish $1 $line"
	done
}

# The harness compares what both machines published under this key.
must_match() {
	echo "@must-match $1"
}

# Prints the line the other machine published last under this key.
ask() {
	local answer
	echo "@ask $1" >&2
	read -r answer <&3
	echo "$answer"
}

# Switches the other machine off, without a word of warning.
kill_peer() {
	local answer
	echo "@kill-peer"
	read -r answer <&3
}

# Boots the other machine; its script starts again, with AGAIN=yes.
revive_peer() {
	local answer
	echo "@revive-peer"
	read -r answer <&3
}

# --- modules ----------------------------------------------------------------

# need_module NAME...: loads modules of the base system, from the image or from --modules.
need_module() {
	local name
	for name in "$@"; do
		kldload -n "$name" 2>/dev/null ||
		    kldload "$VM/modules/$name.ko" 2>/dev/null ||
		    kldstat -q -m "$name" || skip "the image has no module $name"
	done
}

# The file of a module by the name it has here: test (under test) or stock (FreeBSD's own).
module_file() {
	case $1 in
	test) echo $VM/pfsync.ko ;;
	stock) echo $VM/stock/pfsync.ko ;;
	esac
}

# load_pfsync test|stock: the given pfsync, and no other, is in the kernel afterwards.
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

# Tells the harness whose kernel reports will follow, and waits until it knows.
note_loading() {
	local answer
	echo "@loading $1"
	read -r answer <&3
}

# destroy_pfsync0 [JAIL]: FreeBSD's own module refuses, since every network stack must have it.
# Then the interface stays as it was, and the function fails.
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

# must COMMAND...: the command must succeed now.
must() {
	"$@" || fail "$*"
}

# must_not COMMAND...: the command must fail, and say nothing about it here.
must_not() {
	! "$@" >/dev/null 2>&1 || fail "succeeded: $*"
}

# equal WHAT EXPECTED FOUND
equal() {
	[ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
}

# --- jails and wires --------------------------------------------------------

# make_jail NAME...: network stacks of their own.
make_jail() {
	local name
	for name in "$@"; do
		jail -c name="$name" persist vnet || fail "cannot make jail $name"
		echo "$name" >> $RUN/jails
		jexec "$name" ifconfig lo0 inet 127.0.0.1/8 up
		jexec "$name" ifconfig lo0 inet6 ::1/128
	done
}

# make_wire A B: an epair between two jails, or a jail and `here`. Its name
# without the last letter, a or b, is in $WIRE.
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

# at WHERE COMMAND...: runs a command in a jail, or outside of all if WHERE is `here`.
at() {
	local where=$1
	shift
	if [ "$where" = here ]; then
		"$@"
	else
		jexec "$where" "$@"
	fi
}

# address WHERE INTERFACE ADDRESS...: IPv4 or IPv6 addresses with prefix lengths.
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

# pf_rules WHERE: rules on standard input; pf is enabled.
pf_rules() {
	at "$1" pfctl -q -f - || fail "rules in $1"
	at "$1" pfctl -q -e 2>/dev/null
	at "$1" pfctl -si 2>/dev/null | grep -q '^Status: Enabled' || fail "pf is off in $1"
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

# sync_firewalls OPTION...: pfsync between one and two, with options of ifconfig for both.
sync_firewalls() {
	jexec one ifconfig pfsync0 syncdev "${SYNC}a" "$@" up || fail "pfsync0 in one"
	jexec two ifconfig pfsync0 syncdev "${SYNC}b" "$@" up || fail "pfsync0 in two"
	soon "one is not in sync" in_sync one
	soon "two is not in sync" in_sync two
}

# Whether the jail's pfsync has its bulk update behind it.
in_sync() {
	at "$1" ifconfig pfsync0 | grep -q 'syncok: 1'
}

# Removes what the case made and reports its exit status unchanged.
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
	# What goes wrong here is a failure too, but not one to hide an earlier one.
	( unload_pfsync ) || [ $status -ne 0 ] || status=1
	exit $status
}

# --- programs in the background ---------------------------------------------

HELPERS=

# helper WHERE COMMAND...: runs a command until the case ends, or until stop_helpers.
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

# serve_udp WHERE PORT: takes datagrams on a port and answers the first.
serve_udp() {
	echo back > $RUN/back
	helper "$1" nc -u -l "$2" <$RUN/back >/dev/null
	wait_for 5 udp_listens "$1" "$2" || fail "nc does not listen"
}

udp_listens() {
	at "$1" netstat -an -p udp | grep -q "[.]$2 "
}

# send_udp ADDRESS PORT: a datagram from the client, always from the same port.
send_udp() {
	echo hello | jexec client nc -u -w 1 -p 4000 "$1" "$2" >/dev/null 2>&1
}

# open_tcp WHERE ADDRESS PORT: connects the client to a listener at WHERE.
# What is written to descriptor 4 is sent, until close_tcp.
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

# --- what pf and pfsync say -------------------------------------------------

# has_state WHERE PATTERN: whether a line of its state table matches.
has_state() {
	at "$1" pfctl -s states 2>/dev/null | grep -q -E "$2"
}

lacks_state() {
	! has_state "$1" "$2"
}

# Identity, keys and peers of every state, a line each, in fixed order.
state_lines() {
	at "$1" pfctl -vv -s states 2>/dev/null | awk '
		/^[^ ]/ { state = $0; seq = "" }
		/^   \[/ { gsub(/ +/, " "); seq = $0 }
		/^   id:/ { print $2, $4, state, seq }' | sort
}

# counted WHERE WORDS: a number of `netstat -s -p pfsync`, by the words after it.
counted() {
	at "$1" netstat -s -p pfsync | sed 's/^[[:space:]]*//' |
	    awk -v words="$2" '{ n = $1; sub(/^[0-9]+ /, "") } $0 == words { print n; exit }'
}

# sent WHERE MESSAGE, received WHERE MESSAGE: messages of a kind, in the words of netstat.
sent() {
	message_count "$1" "$2" sent
}

received() {
	message_count "$1" "$2" received
}

message_count() {
	local single
	single=$(counted "$1" "$2 $3")
	echo "${single:-$(counted "$1" "$2s $3")}"
}

# --- measuring --------------------------------------------------------------

# How many states pf has, as of a moment ago: its purge thread counts them.
states_on() {
	at "$1" pfctl -si 2>/dev/null | awk '/current entries/ { print $3 }'
}

# make_sink WHERE: an interface that swallows what is sent to 203.0.113.2, at once.
make_sink() {
	local bridge
	need_module bridgestp if_bridge
	bridge=$(at "$1" ifconfig bridge create) || fail "cannot make a bridge"
	address "$1" "$bridge" 203.0.113.1/24
	must at "$1" arp -s 203.0.113.2 02:00:00:00:00:02 >/dev/null
}

# ratio A B: what A divided by B is; both may be sums.
ratio() {
	awk "BEGIN { if (($2) == 0) print \"none\"; else printf \"%.4f\\n\", ($1) / ($2) }"
}

# Bytes of all zones of the kernel's allocator.
bytes_in_use() {
	vmstat -z | awk -F '[:,] *' 'NF > 4 { sum += $2 * $4 } END { printf "%d\n", sum }'
}

# --- memory -----------------------------------------------------------------

# Allocations of the kernel by type, one `name count` a line, without the types
# that follow the number of processes, threads and open files.
malloc_in_use() {
	vmstat -m | awk 'NR > 1 && match($0, /[0-9]+ +[0-9]+K? +[0-9]+/) {
		name = substr($0, 1, RSTART - 1)
		gsub(/^ +| +$/, "", name); gsub(/ /, "_", name)
		split(substr($0, RSTART), field, " +")
		print "malloc:" name, field[1] }' |
	    grep -v -E ':(umtx|subproc|proc-args|pgrp|session|cred|plimit|uidinfo|filedesc|filecaps|temp|ioctlops) '
}

# Items in use of those zones that pfsync can have a part in.
zones_in_use() {
	vmstat -z | awk -F '[:,] *' '
		$1 ~ /^(pf |mbuf$|mbuf_packet|ripcb|udp_inpcb|rtentry|nvlist|epoch)/ {
			name = $1; gsub(/ /, "_", name); print "zone:" name, $4 }'
}

memory_in_use() {
	malloc_in_use
	zones_in_use
}

# memory_grew BEFORE AFTER COUNT: prints what has at least COUNT more items than before.
memory_grew() {
	awk -v count="$3" '
		NR == FNR { before[$1] = $2; next }
		$2 - before[$1] >= count { print $1, before[$1] + 0, "->", $2 }' "$1" "$2"
}
