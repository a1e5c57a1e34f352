#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause

# Prints the commit of this source, or its time.
#
#   tools/origin.sh commit    the commit, with "-dirty" if files have changed
#   tools/origin.sh time      the time of the commit, in seconds since 1970
set -eu
cd "$(dirname "$0")/.."

# git-archive(1) fills this in, because its archives have no .git.
ARCHIVED='$Format:%H %ct$'

case $1 in
commit) git="describe --always --dirty --abbrev=12 --exclude=*" field=1 unknown=unknown ;;
time) git="log -1 --format=%ct" field=2 unknown=0 ;;
esac

case $ARCHIVED in
*Format*)
	# .git must be here: a repository further up is not one of this source.
	# shellcheck disable=SC2086
	{ [ -e .git ] && git $git 2>/dev/null; } || echo $unknown
	;;
*)
	echo "$ARCHIVED" | cut -d ' ' -f $field | cut -c 1-12
	;;
esac
