#!/bin/bash
# Installs what the tests and the demo need on Debian 12 with Node 20, and only what is missing.
# Starts no daemon: the packages' services are kept from starting, and disabled when newly installed.
#   scripts/setup.sh [--toolchains]     also Node 22 and 24, for the unit tests
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(etcd-server etcd-client iproute2 nftables ipvsadm nginx-light user-mode-linux kmod
  openssl python3 make g++ curl iputils-ping procps tcpdump util-linux
  exim4-daemon-light dnsmasq-base redis-server mariadb-server-core mariadb-client-core)
node22=22.23.3
node24=24.21.0

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

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
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Nothing of the machine makes room: another mail server, say.
  apt-get install -y -qq --no-install-recommends --no-remove "${missing[@]}" >/dev/null
  if [ "$made_policy" = yes ]; then
    rm -f "$policy"
    trap - EXIT
  fi
  for package in "${missing[@]}"; do
    case "$package" in
      etcd-server) service=etcd ;;
      nginx-light) service=nginx ;;
      exim4-daemon-light) service=exim4 ;;
      redis-server) service=redis-server ;;
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
  npm ci --no-audit --no-fund --loglevel=error
  touch "$installed"
}

install_toolchain() {
  local version=$1 arch package directory
  arch=$(node -p process.arch)
  package=node-linux-$arch
  directory=node_modules/.toolchains/$version
  [ ! -x "$directory/node_modules/$package/bin/node" ] || return 0
  say "installing Node $version for the unit tests"
  mkdir -p "$directory"
  echo '{"private":true}' >"$directory/package.json"
  npm install --prefix "$directory" --no-audit --no-fund --loglevel=error --ignore-scripts \
    "$package@$version"
}

# Two set-ups in one checkout take turns.
exec 9<.
flock 9

check_node
install_packages
install_modules
if [ "${1:-}" = --toolchains ]; then
  install_toolchain "$node22"
  install_toolchain "$node24"
fi
