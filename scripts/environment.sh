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

# Set by some robot and vendor set-ups; they would lead the environment astray.
unset PYTHONPATH PYTHONHOME

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$1"
    [ -z "${2:-}" ] || say "  fix: $2"
    exit 3
}

runs() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }
minor_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# Debian and Ubuntu split venv and ensurepip off; without them `python -m venv` leaves half an environment behind.
makes_venvs() { command -v uv >/dev/null 2>&1 || "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Prints the Python to use. A pyenv shim also exists for Pythons that are not active, so each candidate is run.
find_python() {
    if [ -n "${EDGEKIT_PYTHON:-}" ]; then
        runs "$EDGEKIT_PYTHON" || stop "EDGEKIT_PYTHON=$EDGEKIT_PYTHON is not a Python >= 3.10 that runs here"
        set -- "$EDGEKIT_PYTHON"
    else
        set -- python3.13 python3.12 python3.11 python3.10 python3 python
    fi
    bare=
    for candidate in "$@"; do
        runs "$candidate" || continue
        if makes_venvs "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
        bare=${bare:-$candidate}
    done
    [ -z "$bare" ] || stop "$bare cannot make virtual environments" "sudo apt install python$(minor_of "$bare")-venv"
    stop "no Python >= 3.10 was found" "sudo apt install python3 python3-venv   (or set EDGEKIT_PYTHON)"
}

lock_digest() { "$1" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$2"; }

# usable FOLDER: it was finished, in this very place (a moved one has broken scripts), starts, and is the Python asked for.
usable() {
    [ "$(cat "$1/.edgekit-place" 2>/dev/null)" = "$1" ] || return 1
    "$1/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("pip") is None)' >/dev/null 2>&1 || return 1
    [ -z "${EDGEKIT_PYTHON:-}" ] || [ "$("$EDGEKIT_PYTHON" -c 'import sys; print(sys.version)' 2>&1)" = "$("$1/bin/python" -c 'import sys; print(sys.version)')" ]
}

make_venv() {
    python=$(find_python) || exit $?
    if [ -e "$venv" ]; then
        # Only what is recognisably an environment, or empty, is ours to remove.
        if [ ! -e "$venv/pyvenv.cfg" ] && [ ! -e "$venv/.edgekit-place" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
            stop "$venv exists and is not a virtual environment" "set EDGEKIT_VENV to another folder"
        fi
    fi
    if [ -e "$venv" ]; then
        say "· environment: replacing the one in $venv (unfinished, moved, or another Python)"
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
