# SPDX-License-Identifier: BSD-2-Clause
# about: loading makes pfsync0; only unit 0 can be created; destroy, create, up and down work
. /tmp/vm/lib.sh

load_pfsync test
must ifconfig pfsync0

said=$(ifconfig pfsync1 create 2>&1) && fail "pfsync1 was created"
case $said in
*"Invalid argument"*) ;;
*) fail "creating pfsync1 says: $said" ;;
esac

for round in 1 2 3; do
	must ifconfig pfsync0 up
	ifconfig pfsync0 | grep -q 'flags=.*<UP,.*RUNNING' || fail "pfsync0 does not run"
	must ifconfig pfsync0 down
	! ifconfig pfsync0 | grep -q 'flags=.*RUNNING' || fail "pfsync0 runs when down"
	destroy_pfsync0 && must ifconfig pfsync0 create
done

# Each vnet has its own.
make_jail one
must jexec one ifconfig pfsync0 >/dev/null
destroy_pfsync0 one && must jexec one ifconfig pfsync0 create
must ifconfig pfsync0 >/dev/null

# A jail may end while its interface is up.
make_jail two
must jexec two ifconfig pfsync0 up
must jail -r two
sed -i '' /two/d $RUN/jails
must ifconfig pfsync0 >/dev/null
