#!/bin/sh
# Debian ships Python without the module that makes virtual environments. As root, install it; else say how.
set -eu
version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
package="python${version}-venv"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $package, which $1 needs to make a virtual environment"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
else
    echo "Python's venv module is missing. Install it with: sudo apt-get install $package"
    exit 1
fi
