#!/bin/sh
# Sets up sdeictl in a Python environment: sh venv.sh DIRECTORY. PYTHON is the interpreter, python3 by default.
set -eu
venv=$1
python=${PYTHON:-python3}

fail() {
    echo "make: $1" >&2
    exit 1
}

command -v "$python" > /dev/null || fail "$python does not exist: install python3, or name another one by PYTHON="
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' \
    || fail "sdeictl needs Python 3.9 or later, and this is $("$python" --version 2>&1): name another one by PYTHON="
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    [ "$(id -u)" = 0 ] || fail "the module venv of Python is missing: install the Debian package python3-venv as root"
    command -v apt-get > /dev/null || fail "the module venv of Python is missing, and there is no apt-get to install it"
    echo "installing the Debian package python3-venv by apt-get: $python lacks the module venv" >&2
    { apt-get update && apt-get install --yes --no-install-recommends python3-venv; } >&2
fi
echo "setting up sdeictl in $venv: 20 seconds" >&2
"$python" -m venv "$venv"
# The pip of Debian 11 cannot install a project that only pyproject.toml describes.
"$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade pip
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable .
