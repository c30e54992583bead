#!/bin/sh
# Makes the programs that the interoperation tests talk to, in a directory: litewitness, witnessctl and cosign as Debian
# compiles them, and, compiled here from Debian's sources, Rekor v2's server, Tessera's example and `peer`.
#
#     log-client/tests/engines/get.sh DIRECTORY
#
# For any Debian on amd64 with apt and openssh-client; nothing is installed and no root is needed. It downloads 0.5 GB,
# needs 4 GB beside the programs until it ends, and some minutes.
set -eu

here=$(dirname "$(realpath "$0")")
out=$(realpath -m "${1:?expected the directory to put the programs in}")
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$work/lists/partial" "$work/archives/partial" "$root"
: >"$work/status"

# Debian testing has the programs; an archive that has not changed for a while is as good.
cat >"$work/sources.list" <<EOF
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} forky main
EOF
cat >"$work/apt.conf" <<EOF
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::Cache "$work";
Dir::Etc::Parts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
EOF
export APT_CONFIG="$work/apt.conf"
apt-get -qq update
apt-get -qq --download-only install cosign torchwood golang-go golang-filippo-torchwood-dev \
    golang-github-sigstore-rekor-tiles-dev golang-github-transparency-dev-tessera-dev
# Programs and sources; not the libraries and tools of a whole system that they come with.
for deb in "$work"/archives/golang-*.deb "$work"/archives/cosign_*.deb "$work"/archives/torchwood_*.deb; do
    dpkg-deb --extract "$deb" "$root"
    rm "$deb"
done

cp "$root/usr/bin/cosign" "$root/usr/bin/litewitness" "$root/usr/bin/witnessctl" "$out"
go=$(echo "$root"/usr/lib/go-1.*)
build() {
    env GOROOT="$go" GOPATH="$root/usr/share/gocode" GOCACHE="$work/cache" GO111MODULE=off GOTOOLCHAIN=local \
        CGO_ENABLED=0 nice "$go/bin/go" build -o "$out/$1" "$2"
}
build peer "$here/peer.go"
build posix-oneshot github.com/transparency-dev/tessera/cmd/examples/posix-oneshot
build rekor-server github.com/sigstore/rekor-tiles/cmd/rekor-server/posix
echo "$out"
