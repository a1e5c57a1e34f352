#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Runs in the guest on its second serial port: reads the harness's orders, one
# a line, and runs the cases. A case reads the harness's replies from
# descriptor 3.
stty raw -echo
cd /tmp/vm || exit 1
echo "@ready $(uname -rp)"
while read -r order script role settings; do
	[ "$order" = run ] || continue
	# The settings are words of the form name=value.
	env ROLE="$role" $settings sh "cases/$script.sh" 3<&0 </dev/null 2>&1
	echo "@ended $?"
done
