# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Makes a fresh Debian machine able to build and test: sourced by run.sh, demo.sh, bench.sh.
# Prints what it installs before it does. Afterwards `node` is a current one, and dist/ is built.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Node runs the TypeScript of the lab and the tests directly, which needs 22.18 or later.
NODE_VERSION=24.21.0
# The npm that goes with it: Debian's finds its modules only with Debian's Node.
NPM_VERSION=11.19.1
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/vfioscope"

say() { printf 'setup  %s\n' "$*" >&2; }

fail() {
  printf 'setup  %s\n' "$*" >&2
  exit 1
}

setup_packages() {
  local missing=() package
  for package in $(cat "$@"); do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || fail "these Debian packages are missing: ${missing[*]}. Run this as root, or with sudo."
  say "installing Debian packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

setup_node() {
  local major minor
  if command -v node >/dev/null; then
    IFS=. read -r major minor _ <<<"$(node -p process.versions.node)"
    if [ "$major" -gt 22 ] || { [ "$major" -eq 22 ] && [ "$minor" -ge 18 ]; }; then return; fi
  fi
  command -v npm >/dev/null || fail "npm is missing: apt-get install npm"
  local package arch
  case "$(uname -m)" in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) fail "there is no npm package of Node for $(uname -m): install Node 22.18 or later" ;;
  esac
  package="node-linux-$arch"
  local home="$CACHE/node-$NODE_VERSION"
  if [ ! -x "$home/node_modules/$package/bin/node" ]; then
    say "installing Node $NODE_VERSION into $home"
    mkdir -p "$home"
    npm install --loglevel=error --no-audit --no-fund --prefix "$home" "$package@$NODE_VERSION"
  fi
  local npm_home="$CACHE/npm-$NPM_VERSION"
  if [ ! -x "$npm_home/node_modules/.bin/npm" ]; then
    say "installing npm $NPM_VERSION into $npm_home"
    mkdir -p "$npm_home"
    # An older Node than npm is made for can install it all the same.
    npm install --loglevel=error --no-audit --no-fund --prefix "$npm_home" "npm@$NPM_VERSION"
  fi
  # The settings of the machine's npm hold for this one, too.
  npm_config_globalconfig=$(cd / && npm config get globalconfig)
  export npm_config_globalconfig
  PATH="$home/node_modules/$package/bin:$npm_home/node_modules/.bin:$PATH"
  export PATH
}

# After Node: npm leaves out optional packages, such as the binaries of build tools, that are not made
# for the Node that it runs on.
setup_dependencies() {
  if [ -f node_modules/.package-lock.json ] && [ node_modules/.package-lock.json -nt package-lock.json ]; then
    return
  fi
  say 'installing npm packages of package-lock.json'
  npm ci --loglevel=error --no-audit --no-fund >&2
}

setup_build() {
  say 'building probes and agent'
  make -s -C bpf
  node agent/build.ts
}

setup_packages test/packages.txt test/lab/packages.txt
setup_node
setup_dependencies
setup_build
