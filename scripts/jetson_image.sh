#!/bin/sh
# The steps of Dockerfile.jetson, so that they can be run and tested without Docker:
#
#     scripts/jetson_image.sh packages     an environment in EDGEKIT_VENV that also sees the system's TensorRT; needs the internet once
#     scripts/jetson_image.sh check        edgekit starts in it
#
# CUDA_MAJOR chooses the bindings by which engines are run: 12 (JetPack 6, the default) or 13 (JetPack 7).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/environment.sh
. "$root/scripts/environment.sh"

packages() {
    bindings=jetson-cuda${CUDA_MAJOR:-12}
    [ -f "$root/requirements/$bindings.txt" ] || stop "there are no bindings for CUDA ${CUDA_MAJOR:-12}" "CUDA_MAJOR=12 or CUDA_MAJOR=13"
    python=${EDGEKIT_PYTHON:-python3}
    runs "$python" || stop "the Python here is $("$python" -V 2>&1); edgekit needs 3.10" \
        "choose a base of JetPack 6 or later; boards with JetPack 5 need no image: edgekit build --device NAME"
    sees_tensorrt "$python" || stop "this image has no TensorRT for $("$python" -V 2>&1)" "choose a base of TensorRT: see Dockerfile.jetson"
    # Debian and Ubuntu split off what makes environments, and bases leave it out.
    makes_venvs "$python" || {
        apt-get -q update
        apt-get -qy install --no-install-recommends python3-venv
        rm -rf /var/lib/apt/lists/*
    }
    # TensorRT comes with the base as a package of the system, which only such an environment sees.
    usable "$venv" || {
        "$python" -m venv --system-site-packages "$venv"
        printf '%s\n' "$venv" >"$venv/.edgekit-place"
    }
    environment runtime "$bindings"
}

# Looked for, not imported: its libraries may need those of the board, which are not there while an image is made.
sees_tensorrt() { "$1" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorrt") is None)'; }

check() {
    "$venv/bin/edgekit" --version
    sees_tensorrt "$venv/bin/python" || stop "$venv does not see the system's TensorRT" "scripts/jetson_image.sh packages"
}

case ${1:-} in
packages) packages ;;
check) check ;;
*) stop "usage: scripts/jetson_image.sh packages | check" ;;
esac
