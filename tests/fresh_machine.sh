#!/usr/bin/env bash
# Does what the README says on a machine that has nothing: makes a bare root of a Debian release,
# copies a clean clone of this repository into it, and runs `./thaw demo` and then `./thaw test`.
#
#   tests/fresh_machine.sh [bookworm|trixie] [ARGUMENT OF ctest...]
#
# Without arguments for ctest all tests run; .ci/run gives some and says so. THAW_CMAKE is taken
# along. The root lies in build-fresh/RELEASE, is made anew for each run (tests/bare_root.sh), and
# stays there with all that was built in it. Needs root, and a network for apt and pip.
set -euo pipefail

root=$(dirname "$(dirname "$(readlink -f "$0")")")
release=${1:-bookworm}
[ $# -eq 0 ] || shift
bare=$root/build-fresh/$release

say() { echo "fresh_machine.sh: $*" >&2; }
[ "$(id -u)" -eq 0 ] || {
    say "must be root: it makes a root file system and enters it"
    exit 1
}

# Everything below happens in a mount namespace of its own: nothing stays mounted.
if [ "${FRESH_MACHINE_INSIDE:-}" != true ]; then
    export FRESH_MACHINE_INSIDE=true
    exec unshare --mount --propagation private "$0" "$release" "$@"
fi

"$root/tests/bare_root.sh" unpack "$release" "$bare"
"$root/tests/bare_root.sh" network "$bare"
git clone --quiet --no-hardlinks "$root" "$bare/root/thaw"
mount --rbind /proc "$bare/proc"
mount --rbind /dev "$bare/dev"

settings=$("$root/tests/bare_root.sh" environment)
inside() {
    # shellcheck disable=SC2086
    chroot "$bare" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true $settings \
        ${THAW_CMAKE:+"THAW_CMAKE=$THAW_CMAKE"} \
        bash -c 'cd /root/thaw && "$@"' inside "$@"
}

start=$(date +%s)
inside ./thaw demo
say "$release: ./thaw demo took $(($(date +%s) - start)) s from a bare root to its results"
[ $# -eq 0 ] || say "$release: not all tests follow, but those of 'ctest $*' ${THAW_CMAKE:-}"
inside ./thaw test "$@"
say "$release: ./thaw test passed${*:+ what 'ctest $*' chooses}; $(($(date +%s) - start)) s in all"
