#!/bin/sh
# The tests of shared stores need a real PostgreSQL. As root on Debian, install it where it is missing; else say how.
set -eu
if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing postgresql, which the tests of shared stores need"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
else
    echo "PostgreSQL is missing. Install it with: sudo apt-get install postgresql"
    exit 1
fi
