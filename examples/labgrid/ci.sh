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
status=0
edgekit ci "$place" --lease-wait 1m "$@" || status=$?
exit "$status"
