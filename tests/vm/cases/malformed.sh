# SPDX-License-Identifier: BSD-2-Clause
# about: malformed packets are counted, all but two as FreeBSD's own module counts them, and do no harm
# needs: programs
. /tmp/vm/lib.sh

VICTIM=192.0.2.1
FRAMES=$RUN/frames

# --- building packets -------------------------------------------------------

# bytes NUMBER...: one byte each.
bytes() {
	local number
	for number in "$@"; do
		printf "\\$(printf %03o "$number")"
	done
}

# u16 NUMBER: two bytes, high one first.
u16() {
	bytes $(($1 / 256)) $(($1 % 256))
}

zeros() {
	head -c "$1" /dev/zero
}

# header VERSION LENGTH: the header of a frame, with zeros for the checksum of the ruleset.
header() {
	bytes "$1" 0
	u16 "$2"
	zeros 16
}

# run ACTION COUNT: a subheader.
run() {
	bytes "$1" 0
	u16 "$2"
}

# frame NAME: writes a valid header and standard input to a file.
frame() {
	local size
	cat > $RUN/body
	size=$(stat -f %z $RUN/body)
	{ header 5 $((size + 20)); cat $RUN/body; } > "$FRAMES/$1"
}

END="run 12 1"
INSERT=13 UPDATE_C=4 DELETE_C=7 CLEAR=0 REQUEST=5 BULK=10

make_frames() {
	mkdir -p $FRAMES
	bytes 5 0 0 > $FRAMES/header-too-short
	header 4 20 > $FRAMES/wrong-version
	{ header 5 200; $END; } > $FRAMES/longer-than-the-packet
	{ header 5 10; $END; } > $FRAMES/shorter-than-its-header
	: | frame nothing
	$END | frame end-only
	{ run 99 1; zeros 100; } | frame unknown-action
	{ run $INSERT 65535; zeros 242; } | frame more-inserts-than-data
	{ run $UPDATE_C 65535; zeros 84; } | frame more-updates-than-data
	{ run $DELETE_C 0; $END; } | frame no-deletes
	{ run $INSERT 1; zeros 276; $END; } | frame insert-of-zeros
	{ run $DELETE_C 1; zeros 12; $END; } | frame delete-of-nothing
	{ run $CLEAR 1; zeros 20; $END; } | frame clear-of-nobody
	{ run $REQUEST 1; zeros 8; bytes 1 2 3 4; $END; } | frame request-of-nothing
	{ run $BULK 1; bytes 1 2 3 4 0 0 0 0 77 0 0 0; $END; } | frame bulk-mark-of-no-kind
	{ $END; run $INSERT 1; zeros 10; } | frame more-after-the-end
}

# What one counts for each frame, and FreeBSD's own module where it counts differently.
verdicts() {
	cat <<-LIST
	bulk-mark-of-no-kind	1_state_discarded_for_bad_values	nothing
	clear-of-nobody		nothing
	delete-of-nothing	1_failed_state_lookup/insert
	end-only		nothing
	header-too-short	1_packet_shorter_than_header
	insert-of-zeros		1_state_discarded_for_bad_values
	longer-than-the-packet	1_packet_discarded_for_short_packet
	more-after-the-end	1_packet_discarded_for_short_packet
	more-inserts-than-data	1_packet_discarded_for_short_packet
	more-updates-than-data	1_packet_discarded_for_short_packet
	no-deletes		nothing
	nothing			nothing
	request-of-nothing	1_failed_state_lookup/insert
	shorter-than-its-header	1_packet_discarded_for_short_packet	nothing
	unknown-action		1_packet_discarded_for_bad_action
	wrong-version		1_packet_discarded_for_bad_version
	LIST
}

# --- sending them -----------------------------------------------------------

# The counters of what pfsync in one discarded, one a line, in the singular.
discarded() {
	jexec one netstat -s -p pfsync | sed -nE '
		s/^[[:space:]]+//
		s/^([0-9]+ (packet|state))s /\1 /
		s/inserts$/insert/
		/discarded|shorter|stale|failed state/p'
}

# grown BEFORE AFTER: which counters grew by how much, with _ for blanks; or `nothing`.
grown() {
	awk '
		{ number = $1; $1 = "" }
		FNR == NR { before[$0] = number; next }
		number != before[$0] { found = found sep (number - before[$0]) $0; sep = "," }
		END { gsub(" ", "_", found); print found ? found : "nothing" }' "$1" "$2"
}

# send NAME...: sends frames from two, as a peer does.
send() {
	local name
	for name in "$@"; do
		jexec two $VM/bin/rawsend $VICTIM "$FRAMES/$name"
	done
	sleep 1
}

load_pfsync test
make_firewalls
pass_all one two
sync_firewalls
jexec client ping -q -c 1 198.51.100.1 >/dev/null || fail "ping"
must has_state one "icmp 198.51.100.1:8"
make_frames
must jexec two ifconfig pfsync0 down

verdicts > $RUN/verdicts
equal "frames and verdicts" "$(ls $FRAMES | wc -l)" "$(wc -l < $RUN/verdicts)"
wrong=0
while read -r name expected stock; do
	is_reference && expected=${stock:-$expected}
	discarded > $RUN/before
	send "$name"
	discarded > $RUN/after
	found=$(grown $RUN/before $RUN/after)
	[ "$found" = "$expected" ] || {
		echo "  $name: expected $expected, found $found"
		wrong=$((wrong + 1))
	}
done < $RUN/verdicts
equal "frames with another verdict" 0 $wrong
