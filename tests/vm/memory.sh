# SPDX-License-Identifier: BSD-2-Clause

# Functions for cases that compare the kernel's memory before and after, read after lib.sh.

# The kernel's allocations by type, one `name count` a line, without the types
# that depend on the number of processes, threads and open files. It also leaves out what
# FreeBSD loses with and without pfsync, which allocates none of these types:
# - routetbl, up to nine each time an interface loses its addresses;
# - ip6ndp, one each time an interface gets its link-local address (in6_ifattach_linklocal);
# - counter_rate, one for each rule that is loaded on FreeBSD 15.0 (`pktrate`).
malloc_in_use() {
	vmstat -m | awk 'NR > 1 && match($0, /[0-9]+ +[0-9]+K? +[0-9]+/) {
		name = substr($0, 1, RSTART - 1)
		gsub(/^ +| +$/, "", name); gsub(/ /, "_", name)
		split(substr($0, RSTART), field, " +")
		print "malloc:" name, field[1] }' |
	    grep -v -E ':(umtx|kdtrace|subproc|proc-args|pgrp|session|cred|plimit|uidinfo|filedesc|filecaps|temp|ioctlops|routetbl|ip6ndp|counter_rate) '
}

# Items in use in the zones that pfsync can affect.
zones_in_use() {
	vmstat -z | awk -F '[:,] *' '
		$1 ~ /^(pf |mbuf$|mbuf_packet|ripcb|udp_inpcb|rtentry|nvlist|epoch)/ {
			name = $1; gsub(/ /, "_", name); print "zone:" name, $4 }'
}

memory_in_use() {
	malloc_in_use
	zones_in_use
}

# nothing_left FILE: memory_in_use, written to FILE after unload, lists nothing of pfsync's.
nothing_left() {
	! grep '^malloc:pfsync ' "$1" || fail "pfsync's memory is still there"
}

# no_states_left FILE: memory_in_use, written to FILE, lists no state and no state key.
no_states_left() {
	grep -E '^zone:pf_(states|state_keys) ' "$1" |
	    while read -r zone count; do
		equal "$zone after all states were removed" 0 "$count"
	    done || exit 1
}

# memory_grew BEFORE AFTER COUNT: prints each line with at least COUNT more items than before.
memory_grew() {
	awk -v count="$3" '
		NR == FNR { before[$1] = $2; next }
		$2 - before[$1] >= count { print $1, before[$1] + 0, "->", $2 }' "$1" "$2"
}
