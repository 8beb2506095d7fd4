#!/bin/bash
# Installs what the tests and the demo need on Debian 12 with Node 20, and only what is missing.
# Starts no daemon: the packages' services are kept from starting, and disabled when newly installed.
#   scripts/setup.sh [--toolchains]     also Node 22 and 24, for the unit tests, and what few tests need
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C.UTF-8
# `su` keeps the path of a user, and dpkg wants the other directories as well.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

packages=(etcd-server etcd-client iproute2 nftables ipvsadm nginx-light user-mode-linux kmod
  openssl python3 make g++ curl iputils-ping procps tcpdump util-linux
  exim4-daemon-light dnsmasq-base redis-server mariadb-server-core mariadb-client-core)
# Tests and benches install these themselves where they are missing: before all tests it is done here, with patience.
test_packages=(keepalived tshark)
node22=22.23.3
node24=24.21.0

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }

# Runs a command up to four times: a download may break, and another process may be at work on the lists of packages.
again() {
  local what=$1 try
  shift
  for try in 1 2 3; do
    if "$@"; then return 0; fi
    say "$what failed: once more in $((try * 10)) s"
    sleep $((try * 10))
  done
  "$@" || fail "$what failed four times: what it said is above"
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

fetch_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || say 'going on with the package lists that are there'
  # Waits while a new machine installs its updates. Nothing of it makes room: another mail server, say.
  apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove "$@" >/dev/null
}

install_packages() {
  local missing=() package service
  for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || fail "must be root to install: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  # A policy that forbids services to start (invoke-rc.d(8)), unless the machine has its own.
  local policy=/usr/sbin/policy-rc.d made_policy=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=yes
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  # Nothing that these start may keep our turn.
  again 'the installation of Debian packages' fetch_packages "${missing[@]}" 9>&-
  if [ "$made_policy" = yes ]; then
    rm -f "$policy"
    trap - EXIT
  fi
  for package in "${missing[@]}"; do
    case "$package" in
      etcd-server) service=etcd ;;
      nginx-light) service=nginx ;;
      exim4-daemon-light) service=exim4 ;;
      redis-server | keepalived) service=$package ;;
      *) continue ;;
    esac
    if command -v systemctl >/dev/null; then
      systemctl disable --quiet "$service" 2>/dev/null || true
    fi
  done
}

check_node() {
  command -v node >/dev/null || fail 'Node is missing: install Node 20.19 or later, 22.12 or later, or 24'
  node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
    process.exit(fits ? 0 : 1);
  ' || fail "Node $(node -v) does not fit: 20.19 or later, 22.12 or later, or 24"
}

install_modules() {
  local installed=node_modules/.package-lock.json
  if [ -e "$installed" ] && [ ! package-lock.json -nt "$installed" ]; then return 0; fi
  # Headers beside the node binary let native modules compile without a download.
  local prefix
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  if [ -e "$prefix/include/node/node.h" ]; then export npm_config_nodedir=$prefix; fi
  say 'installing npm packages from the lock file'
  # Also where NODE_ENV says production.
  again 'the installation of npm packages' \
    npm ci --include=dev --no-audit --no-fund --loglevel=error 9>&-
  touch "$installed"
}

install_toolchain() {
  local version=$1 arch package directory binary
  arch=$(node -p process.arch)
  package=node-linux-$arch
  directory=node_modules/.toolchains/$version
  binary=$directory/node_modules/$package/bin/node
  # One that was cut off while it was written does not run.
  if [ "$("$binary" --version 2>/dev/null)" = "v$version" ]; then return 0; fi
  say "installing Node $version for the unit tests"
  rm -rf "$directory"
  mkdir -p "$directory"
  echo '{"private":true}' >"$directory/package.json"
  again "the installation of Node $version" npm install --prefix "$directory" --no-audit --no-fund \
    --loglevel=error --ignore-scripts "$package@$version" 9>&-
}

# Two set-ups in one checkout take turns.
exec 9<.
flock --nonblock 9 || { say 'waiting for another set-up of this checkout'; flock 9; }

check_node
if [ "${1:-}" = --toolchains ]; then packages+=("${test_packages[@]}"); fi
install_packages
install_modules
if [ "${1:-}" = --toolchains ]; then
  install_toolchain "$node22"
  install_toolchain "$node24"
fi
