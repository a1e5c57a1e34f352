# SPDX-License-Identifier: BSD-2-Clause
# about: how long pf's and pfsync's locks are held, at most, while a full table is sent, changed and cleared, with both modules
# needs: stock programs
# timeout: 3600
. /tmp/vm/lib.sh

STATES=${states:-100000}
# Seconds in which a peer takes in all states.
PATIENCE=$((60 + STATES / 5000))

# Mutexes tell when they are held by themselves. For pf's rules, the calls tell.
watch_locks() {
	cat > $RUN/locks.d <<-'D'
		#pragma D option quiet
		#pragma D option dynvarsize=16m

		lockstat:::adaptive-acquire
		/strstr(stringof(((struct lock_object *)arg0)->lo_name), "pf") == stringof(((struct lock_object *)arg0)->lo_name)/
		{
			self->since[arg0] = timestamp;
		}

		lockstat:::adaptive-release
		/self->since[arg0]/
		{
			this->name = stringof(((struct lock_object *)arg0)->lo_name);
			@held[this->name] = max(timestamp - self->since[arg0]);
			@times[this->name] = count();
			self->since[arg0] = 0;
		}

		fbt:kernel:_rm_rlock:entry,
		fbt:kernel:_rm_wlock:entry
		/stringof(((struct lock_object *)arg0)->lo_name) == "pf rulesets"/
		{
			self->rules = 1;
		}

		fbt:kernel:_rm_rlock:return,
		fbt:kernel:_rm_wlock:return
		/self->rules/
		{
			self->rules_since = timestamp;
		}

		fbt:kernel:_rm_runlock:entry,
		fbt:kernel:_rm_wunlock:entry
		/self->rules_since && stringof(((struct lock_object *)arg0)->lo_name) == "pf rulesets"/
		{
			@held[probefunc] = max(timestamp - self->rules_since);
			@times[probefunc] = count();
			self->rules = 0;
			self->rules_since = 0;
		}

		dtrace:::END
		{
			printa("%s %@d %@d\n", @held, @times);
		}
	D
	dtrace -s $RUN/locks.d -o $RUN/held 2>$RUN/dtrace &
	DTRACE=$!
	sleep 8
	kill -0 $DTRACE || fail "dtrace: $(cat $RUN/dtrace)"
}

# report NAME WHAT: the locks that were held longest since watch_locks.
report() {
	kill -INT $DTRACE
	wait $DTRACE
	awk 'NF >= 3 { times = $NF; ns = $(NF - 1); NF -= 2; gsub(/ /, "-"); print ns, $0, times }' $RUN/held | sort -rn > $RUN/longest
	while read -r ns name times; do
		result "$1.$2.$name.microseconds" "$(awk "BEGIN { printf \"%.1f\", $ns / 1000 }") of $times"
	done < $RUN/longest
}

# measure MODULE NAME
measure() {
	load_pfsync "$1"
	jexec one pfctl -q -F states
	jexec two pfctl -q -F states
	wait_for $PATIENCE is_empty two || fail "states stay on two"
	jexec one ifconfig pfsync0 up
	must jexec one $VM/bin/states "$STATES" >/dev/null
	start_pfsync one
	sleep 3
	watch_locks
	start_pfsync two
	wait_for $PATIENCE has_states two $((STATES * 9 / 10))
	echo "$2: $(states_on two) states on two"
	report "$2" update
	watch_locks
	jexec one $VM/bin/blast 203.0.113.2 9 "$STATES" "$STATES" >/dev/null
	jexec one $VM/bin/blast 203.0.113.2 9 "$STATES" "$STATES" >/dev/null
	sleep 3
	report "$2" traffic
	watch_locks
	jexec one pfctl -q -F states
	wait_for $PATIENCE is_empty one
	sleep 3
	report "$2" clear
}

kldload -n dtraceall 2>/dev/null || skip "no DTrace here"
need_module pf
make_firewalls
make_sink one 200
pass_for_an_hour $((2 * STATES + 100000)) one two
measure_both
