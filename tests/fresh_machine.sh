#!/usr/bin/env bash
# Does what the README says on a machine that has nothing: makes a bare root of a Debian release,
# copies a clean clone of this repository into it, and runs `./thaw demo` and then `./thaw test`.
#
#   tests/fresh_machine.sh [bookworm|trixie] [ARGUMENT OF ctest...]
#
# Without arguments for ctest all tests run; .ci/run gives some and says so. THAW_CMAKE is taken along. The bare root is kept in
# build-fresh/, which git ignores, and unpacked anew for each run. Needs root, mmdebstrap and what
# apt and pip reach from here; the machine's certificates and the settings of both are copied in.
set -euo pipefail

root=$(dirname "$(dirname "$(readlink -f "$0")")")
release=${1:-bookworm}
[ $# -eq 0 ] || shift
work=$root/build-fresh
tar=$work/$release.tar
bare=$work/$release

say() { echo "fresh_machine.sh: $*" >&2; }
[ "$(id -u)" -eq 0 ] || {
    say "must be root: it makes a root file system and enters it"
    exit 1
}

mkdir -p "$work"
if [ ! -f "$tar" ]; then
    command -v mmdebstrap >/dev/null || {
        apt-get -qq update && apt-get -y -qq install --no-install-recommends mmdebstrap
    } >/dev/null
    say "making a bare $release"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates "$release" "$tar.partial.tar"
    mv "$tar.partial.tar" "$tar"
fi

# Everything below happens in a mount namespace of its own: nothing stays mounted.
if [ "${FRESH_MACHINE_INSIDE:-}" != true ]; then
    export FRESH_MACHINE_INSIDE=true
    exec unshare --mount --propagation private "$0" "$release" "$@"
fi

rm -rf "$bare"
mkdir "$bare"
tar -C "$bare" -xf "$tar"
for path in /etc/resolv.conf /etc/ssl/certs /usr/local/share/ca-certificates /etc/apt/auth.conf.d \
    /etc/pip.conf "$HOME/.config/pip" /opt/wheels; do
    [ -e "$path" ] || continue
    mkdir -p "$bare$(dirname "$path")"
    rm -rf "${bare:?}$path"
    cp -aL "$path" "$bare$path"
done
# What apt is told beside its defaults: proxies and their like.
cp -a /etc/apt/apt.conf.d/99* "$bare/etc/apt/apt.conf.d/" 2>/dev/null || true
git clone --quiet --no-hardlinks "$root" "$bare/root/thaw"
mount --rbind /proc "$bare/proc"
mount --rbind /dev "$bare/dev"

# A line of the environment for each setting that apt or pip look at.
settings=$(env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_|CURL_CA_|https?_proxy|HTTPS?_PROXY|no_proxy)' || true)
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
