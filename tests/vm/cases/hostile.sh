# about: 100,000 packets of a hostile peer, then packets that meet what was taken in, a listing, expiry and unload
# needs: programs
# timeout: 900
. /tmp/vm/lib.sh

ROUNDS=10
PACKETS=10000

# fewer_than COUNT: pf holds fewer states than that.
fewer_than() {
	[ "$(jexec one pfctl -s states | wc -l)" -lt "$1" ]
}

load_pfsync test
make_firewalls
printf 'set limit states 100000\nset skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
must jexec one ifconfig pfsync0 syncdev "${SYNC}a" syncpeer 192.0.2.2 up
round=1
while [ $round -le $ROUNDS ]; do
	jexec two $VM/bin/hostile 192.0.2.1 $PACKETS $round >/dev/null || fail "hostile"
	jexec one $VM/bin/blast 127.0.0.1 9 400 4000 >/dev/null || fail "blast"
	jexec one pfctl -vv -s states > $RUN/states || fail "listing"
	taken=$(grep -c 'creatorid' $RUN/states)
	[ "$taken" -gt 0 ] || fail "nothing was taken in"
	round=$((round + 1))
done
jexec one $VM/bin/meet >/dev/null || fail "meet"

# Some of what is left expires, the rest is removed.
printf 'set timeout { interval 1, tcp.first 1, tcp.opening 1, udp.first 1, udp.single 1, udp.multiple 1 }
set skip on %sa\npass keep state\n' "$SYNC" | pf_rules one
held=$(jexec one pfctl -s states | wc -l)
wait_for 60 fewer_than "$held" || fail "no state expires"
result hostile.packets "$(counted one 'packets received (IPv4)')"
result hostile.bad-values "$(counted one 'states discarded for bad values')"
jexec one pfctl -q -F states
unload_pfsync
# pf frees what it no longer needs every ten seconds.
sleep 12
zones_in_use | grep -E '^zone:pf_(states|state_keys) ' |
    while read -r zone count; do
	equal "$zone after all states were removed" 0 "$count"
    done || exit 1
