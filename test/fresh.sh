#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the two commands of README.md in a new Debian root directory that has only git, npm and
# ca-certificates, so that a program, file or package that test/setup.sh does not bring is found.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: npm run test:fresh [-- COMMAND...]

Makes a Debian root directory with git and npm, clones the last commit of this checkout into it,
and runs README.md's commands there. It has nothing of this machine but the settings of apt, npm
and the network, and the caches of downloaded packages. Needs root.

  demo   npm run demo -- --once
  test   npm test

Without a command both are run, which takes about an hour.
TEXT
}

give_up() {
  printf 'fresh: %s\n' "$1" >&2
  exit 1
}

commands=()
for argument; do
  case $argument in
  demo | test) commands+=("$argument") ;;
  -h | --help) usage && exit ;;
  *) usage >&2 && exit 2 ;;
  esac
done
((${#commands[@]})) || commands=(demo test)

[[ $EUID == 0 ]] || give_up 'needs root: debootstrap makes device nodes and mounts (sudo npm run test:fresh)'
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")

# A mount namespace of its own: however this script ends, the kernel removes all mounts with the last
# process in it. No process namespace: BPF programs see the pids of the machine, and tests compare them.
if [[ ${VFIOSCOPE_FRESH_INSIDE-} != yes ]]; then
  exec env VFIOSCOPE_FRESH_INSIDE=yes unshare --mount --propagation private \
    bash "$PWD/test/fresh.sh" "${commands[@]}"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/vfioscope/fresh
mkdir -p "$cache/archives"
exec {lock}>"$cache/lock"
flock -n "$lock" || give_up "another test/fresh.sh is running (it holds $cache/lock)"
# A run that was killed leaves its files, but no mounts: --one-file-system is only a precaution.
rm -rf --one-file-system "$cache"/root.*
root=$(mktemp -d "$cache/root.XXXXXX")
# As the root directory of a machine: apt downloads as a user of its own.
chmod 755 "$root"

# Ends all else that runs in the mount namespace.
end_all() {
  local process namespace
  namespace=$(readlink /proc/self/ns/mnt)
  for process in /proc/[0-9]*; do
    [[ ${process##*/} != "$$" && ${process##*/} != "$BASHPID" ]] || continue
    [[ $(readlink "$process/ns/mnt") != "$namespace" ]] || kill -KILL "${process##*/}" || true
  done 2>/dev/null
}

# If this script is killed by SIGKILL, what it has started must not run on.
watch_over() (
  trap '' INT TERM HUP
  trap - EXIT
  exec {lock}>&-
  while kill -0 $$ 2>/dev/null; do sleep 1; done
  end_all
)
watch_over </dev/null >/dev/null 2>&1 &
watcher=$!

clean_up() {
  local code=$?
  kill -KILL "$watcher" 2>/dev/null || true
  end_all
  umount --recursive --quiet "$root" || true
  rm -rf --one-file-system "$root"
  ((code == 0)) || printf 'fresh: failed\n' >&2
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

step() { printf 'fresh  %s\n' "$*" >&2; }

install_packages() {
  local packages=() missing=() package
  mapfile -t packages <"$1"
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  step "installing Debian packages: ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The least that Debian installs (essential and required packages), from this machine's mirror.
make_root() {
  local mirror
  # shellcheck disable=SC2016 # apt expands it
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' "Codename: $suite" 'Origin: Debian' | head -n 1)
  [[ $mirror ]] || give_up "apt knows no mirror of $suite; run apt-get update"
  step "debootstrap $suite"
  debootstrap --variant=minbase --cache-dir="$cache/archives" "$suite" "$root" "$mirror" >"$cache/debootstrap.log" ||
    give_up "debootstrap failed, see $cache/debootstrap.log"
}

# What this machine needs to reach its package sources: no package comes from here.
carry_settings() {
  local file name
  for file in /etc/hosts /etc/resolv.conf; do cp -L "$file" "$root$file"; done

  rm -f "$root/etc/apt/sources.list"
  for name in sources.list sources.list.d trusted.gpg trusted.gpg.d keyrings auth.conf auth.conf.d; do
    [[ ! -e /etc/apt/$name ]] || cp -rLT "/etc/apt/$name" "$root/etc/apt/$name"
  done
  apt-config dump Acquire | grep -E '^Acquire::(https?|Retries|ForceIPv[46]|Check-Valid-Until)\b' \
    >"$root/etc/apt/apt.conf.d/50machine" || true
  # So that the next run need not download them again.
  echo 'APT::Keep-Downloaded-Packages "true";' >"$root/etc/apt/apt.conf.d/60keep"

  # Certificate authorities: ca-certificates makes the bundle again when it is installed, but apt may
  # need one before that. Then this machine's own ones, and what names a file with some.
  mkdir -p "$root/etc/ssl/certs"
  [[ ! -f /etc/ssl/certs/ca-certificates.crt ]] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  [[ ! -d /usr/local/share/ca-certificates ]] ||
    cp -rLT /usr/local/share/ca-certificates "$root/usr/local/share/ca-certificates"
  environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8)
  for name in NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR {http,https,no,all}_proxy {HTTP,HTTPS,NO,ALL}_PROXY; do
    [[ ${!name-} ]] || continue
    environment+=("$name=${!name}")
    # ca-certificates generates those below /etc/ssl again in the root.
    [[ ${!name} == /* && ${!name} != /etc/ssl/* && -e ${!name} && ! -e $root${!name} ]] || continue
    mkdir -p "$root$(dirname "${!name}")"
    cp -rLT "${!name}" "$root${!name}"
  done

  # Away from the checkout, whose own settings are in the clone anyway.
  (
    cd /
    umask 077
    for file in "$(npm config get globalconfig)" "$(npm config get userconfig)"; do
      [[ ! -f $file ]] || { cat "$file" && echo; }
    done
  ) >"$root/root/.npmrc"
}

mount_all() {
  local npm_cache
  npm_cache=$(cd / && npm config get cache)
  mkdir -p "$npm_cache" "$root/root/.npm"
  # As the root directory of a machine: a mount point, or unshare cannot make a mount namespace in it.
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --rbind /dev "$root/dev"
  mount --bind "$npm_cache" "$root/root/.npm"
  mount --bind "$cache/archives" "$root/var/cache/apt/archives"
  # debootstrap leaves it to this machine's user of that name.
  chroot "$root" install -d -o _apt -m 700 /var/cache/apt/archives/partial
}

in_root() { chroot "$root" env -i "${environment[@]}" "$@"; }

# The first steps of a new user.
clone() {
  step "installing git, npm and ca-certificates, and cloning $(git rev-parse --short HEAD)"
  [[ -z $(git status --porcelain) ]] || step 'changes that are not committed are left out'
  git bundle create --quiet "$root/root/checkout.bundle" HEAD
  in_root apt-get update -qq
  in_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends \
    git npm ca-certificates >"$cache/install.log" 2>&1 || give_up "apt-get failed, see $cache/install.log"
  in_root git -c advice.detachedHead=false clone --quiet /root/checkout.bundle /root/vfioscope
}

run() {
  local started=$SECONDS log=$cache/$1.log
  shift
  step "$*"
  in_root env --chdir=/root/vfioscope "$@" </dev/null 2>&1 | tee "$log" || give_up "$* failed after $((SECONDS - started)) s"
  # A command whose failure is ignored, and a test that is skipped because something is missing.
  ! grep -nE ': (command )?not found$|spawn \S+ ENOENT' "$log" >&2 ||
    give_up "$*: the lines above report a program that is missing"
  ! grep -niE '^ *﹣ .*# .*(install|missing|need|not found)' "$log" >&2 ||
    give_up "$*: the tests above were skipped, though test/setup.sh should have brought what they need"
  step "$*: passed in $((SECONDS - started)) s"
}

install_packages test/fresh/packages.txt
make_root
carry_settings
mount_all
clone
for name in "${commands[@]}"; do
  case $name in
  demo) run demo npm run demo -- --once ;;
  test) run test npm test ;;
  esac
done
