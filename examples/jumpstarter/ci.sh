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

# A CI service may signal this script alone: edgekit must hear of it, and the board is given back once edgekit has put it back as it was.
edgekit ci "$device" --lease-wait 5m --timeout 1h "$@" &
edgekit=$!
trap 'kill -TERM "$edgekit"' INT TERM
status=0
wait "$edgekit" || status=$?
while kill -0 "$edgekit" 2>/dev/null; do  # the signal has ended the waiting, not edgekit
    status=0
    wait "$edgekit" || status=$?
done
exit "$status"
