#!/usr/bin/env bash
# Root file systems of a bare Debian, for the tests that need a machine which has nothing.
#
#   tests/bare_root.sh unpack RELEASE FOLDER   the root of bookworm or trixie, into a folder made anew
#   tests/bare_root.sh network FOLDER          what apt and pip need to reach the network from here:
#                                              the machine's certificates, and the settings of both
#   tests/bare_root.sh environment             a line for each variable that apt and pip look at
#
# A root is made by mmdebstrap once and kept as build-fresh/RELEASE.tar, which git ignores. Needs root.
set -euo pipefail

kept=$(dirname "$(dirname "$(readlink -f "$0")")")/build-fresh

make_tar() {
    command -v mmdebstrap >/dev/null || {
        apt-get -qq update && apt-get -y -qq install --no-install-recommends mmdebstrap
    } >/dev/null
    echo "bare_root.sh: making a bare $1" >&2
    mkdir -p "$kept"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates "$1" "$kept/$1.partial.tar"
    mv "$kept/$1.partial.tar" "$kept/$1.tar"
}

unpack() {
    [ -f "$kept/$1.tar" ] || make_tar "$1"
    rm -rf "$2"
    mkdir -p "$2"
    tar -C "$2" -xf "$kept/$1.tar"
}

network() {
    local path
    for path in /etc/resolv.conf /etc/ssl/certs /usr/local/share/ca-certificates \
        /etc/apt/auth.conf.d /etc/pip.conf "$HOME/.config/pip" /opt/wheels; do
        [ -e "$path" ] || continue
        mkdir -p "$1$(dirname "$path")"
        rm -rf "${1:?}$path"
        cp -aL "$path" "$1$path"
    done
    # What apt is told beside its defaults: proxies and their like.
    mkdir -p "$1/etc/apt/apt.conf.d"
    cp -a /etc/apt/apt.conf.d/99* "$1/etc/apt/apt.conf.d/" 2>/dev/null || true
}

environment() {
    env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_|CURL_CA_|https?_proxy|HTTPS?_PROXY|no_proxy)' || true
}

case ${1:-} in
    unpack | network | environment) "$@" ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
