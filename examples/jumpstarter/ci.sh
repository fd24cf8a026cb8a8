#!/bin/sh
# edgekit ci on a board that Jumpstarter manages: ./ci.sh board=rpi4 rack-3 [edgekit's words, such as --junit junit.xml]
# The first word selects the exporter, the second is the board behind it, as edgekit.toml calls it or user@host.
set -eu

selector=${1:?usage: ci.sh LABEL=VALUE DEVICE [OPTION...]}
device=${2:?usage: ci.sh LABEL=VALUE DEVICE [OPTION...]}
shift 2

# A little longer than edgekit may take, so that edgekit is the one that gives up.
JMP_LEASE=$(jmp create lease --selector "$selector" --duration 90m --output name)
export JMP_LEASE

give_back() {
    jmp delete leases "$JMP_LEASE" || true
}
trap give_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until the lease is granted, and switches the board on.
jmp shell --lease "$JMP_LEASE" -- j power on

status=0
edgekit ci "$device" --lease-wait 5m --timeout 1h "$@" || status=$?
exit "$status"
