# shellcheck shell=sh
# Sourced, never run. Gives the caller a Python environment that matches the locks, made or mended as needed:
#
#     . "$root/scripts/environment.sh"
#     environment runtime          # or: environment runtime dev
#     "$venv/bin/edgekit" ...
#
# Needs only a Python >= 3.10 with venv; uses uv when it is on PATH. No root.
# EDGEKIT_VENV moves the environment (default: .venv in the checkout), EDGEKIT_PYTHON names the interpreter.
# An environment carries a stamp per lock, written last: no stamp means unfinished, another digest means stale.

venv=${EDGEKIT_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$1"
    [ -z "${2:-}" ] || say "  fix: $2"
    exit 3
}

# The first Python >= 3.10. A pyenv shim exists for Pythons that are not active, so each candidate is run.
find_python() {
    for candidate in ${EDGEKIT_PYTHON:+"$EDGEKIT_PYTHON"} python3.13 python3.12 python3.11 python3.10 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
        if [ "$candidate" = "${EDGEKIT_PYTHON:-}" ]; then
            stop "EDGEKIT_PYTHON=$candidate is not a Python >= 3.10 that runs here"
        fi
    done
    stop "no Python >= 3.10 was found" "sudo apt install python3 python3-venv   (or set EDGEKIT_PYTHON)"
}

# Debian and Ubuntu split venv and ensurepip off; without them `python -m venv` leaves half an environment behind.
require_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        stop "$1 cannot make virtual environments" "sudo apt install $("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
}

lock_digest() { "$1" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$2"; }

# usable FOLDER: an interpreter that starts, and a note that the folder was finished here (moving one breaks its scripts).
usable() { [ -x "$1/bin/python" ] && [ "$(cat "$1/.edgekit-place" 2>/dev/null)" = "$1" ] && "$1/bin/python" -c 'import pip' >/dev/null 2>&1; }

make_venv() {
    python=$(find_python) || exit $?
    if [ -e "$venv" ]; then
        # Only what is recognisably an environment, or empty, is ours to remove.
        if [ ! -e "$venv/pyvenv.cfg" ] && [ ! -e "$venv/.edgekit-place" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
            stop "$venv exists and is not a virtual environment" "set EDGEKIT_VENV to another folder"
        fi
    fi
    if ! command -v uv >/dev/null 2>&1; then require_venv "$python"; fi
    if [ -e "$venv" ]; then
        say "· environment: removing an unfinished one in $venv"
        rm -rf "$venv"
    fi
    say "· environment: $venv ($("$python" -V))"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$python" "$venv" || exit $?
    else
        "$python" -m venv "$venv" || { rm -rf "$venv"; exit 3; }
    fi
    printf '%s\n' "$venv" >"$venv/.edgekit-place"
}

install_lock() {
    lock=$root/requirements/$1.txt
    stamp=$venv/.edgekit-$1
    digest=$(lock_digest "$venv/bin/python" "$lock")
    [ "$(cat "$stamp" 2>/dev/null)" != "$digest" ] || return 0
    say "· packages: requirements/$1.txt ($(grep -c '^[a-z].*==' "$lock") pins; the first time this downloads)"
    rm -f "$stamp"
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock" || failed_install "$1"
    else
        "$venv/bin/python" -m pip install --quiet --progress-bar "$(progress_bar)" --disable-pip-version-check \
            --no-input --require-hashes -r "$lock" || failed_install "$1"
    fi
    printf '%s\n' "$digest" >"$stamp.new" && mv "$stamp.new" "$stamp"
}

progress_bar() { if [ -t 2 ]; then echo on; else echo off; fi; }

failed_install() { stop "the packages of requirements/$1.txt could not be installed (see above)" "run the same command again: what was done is kept"; }

# The checkout itself: one .pth line and one launcher do what an editable install does, without a build backend.
link_checkout() {
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    printf '%s\n' "$root" >"$site/edgekit-checkout.pth"
    # Read by sh first, then by Python: the interpreter's path may hold spaces or be longer than a #! line allows.
    cat >"$venv/bin/edgekit.new" <<EOF
#!/bin/sh
'''exec' "$venv/bin/python" "\$0" "\$@"
' '''
import sys

from edgekit.__main__ import main

sys.exit(main())
EOF
    chmod 755 "$venv/bin/edgekit.new"
    mv "$venv/bin/edgekit.new" "$venv/bin/edgekit"
}

# environment LOCK...: leaves $venv ready with these locks and the checkout's own `edgekit` command.
environment() {
    usable "$venv" || make_venv
    for name in "$@"; do install_lock "$name"; done
    if [ ! -x "$venv/bin/edgekit" ] || [ "$(cat "$venv/.edgekit-checkout" 2>/dev/null)" != "$root" ]; then
        link_checkout
        printf '%s\n' "$root" >"$venv/.edgekit-checkout"
    fi
}
