#!/bin/sh
# edgekit ci on a board that labgrid manages: ./ci.sh board=rpi4 [edgekit's words, such as --junit junit.xml]
# The device in edgekit.toml is called as the place is: [devices.rack-3] for the place rack-3.
set -eu

filter=${1:?usage: ci.sh KEY=VALUE [OPTION...]}
shift

# Prints: export LG_TOKEN=...; "-p +" then means the place that was reserved.
eval "$(labgrid-client reserve --wait --shell "$filter")"
: "${LG_TOKEN:?labgrid-client reserved nothing}"
export LG_TOKEN

give_back() {
    labgrid-client -p + release || true
    labgrid-client cancel-reservation "$LG_TOKEN" || true
}
trap give_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

labgrid-client -p + acquire
place=$(labgrid-client -p + show | sed -n "s/^Place '\(.*\)':.*/\1/p")

# labgrid keeps others of its users out; edgekit's own lease keeps out whoever comes without labgrid.
# A CI service may signal this script alone: edgekit must hear of it, and the board is given back once edgekit has put it back as it was.
edgekit ci "$place" --lease-wait 1m "$@" &
edgekit=$!
trap 'kill -TERM "$edgekit"' INT TERM
status=0
wait "$edgekit" || status=$?
while kill -0 "$edgekit" 2>/dev/null; do  # the signal has ended the waiting, not edgekit
    status=0
    wait "$edgekit" || status=$?
done
exit "$status"
