#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the container image of ./Dockerfile and runs it, without an image registry
# and without a container engine: buildah builds it in chroots, on a base that
# debootstrap makes from this machine's own Debian mirror.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: test/image.sh [--lab] [--refresh]

Builds the container image, checks what is in it and runs its doctor here.
Needs root, Debian bookworm, and its package mirror and npm registry.

  --lab      also run it in the lab's VM, as in docs/container.md, with podman
  --refresh  build the base again, not from the cache
TEXT
}

lab=false
refresh=false
for argument; do
  case $argument in
  --lab) lab=true ;;
  --refresh) refresh=true ;;
  -h | --help) usage && exit ;;
  *) usage >&2 && exit 2 ;;
  esac
done

give_up() {
  printf 'image: %s\n' "$1" >&2
  exit 1
}

# The value that the Dockerfile gives an ARG by default.
default_of() { sed -n "s/^ARG $1=//p" Dockerfile; }
suite=$(default_of RUN_BASE | sed 's/.*:\([a-z]*\).*/\1/')
node_version=$(default_of BUILD_BASE | sed 's/.*:\([0-9.]*\).*/\1/')
npm_version=11.19.1

[[ $EUID == 0 ]] || give_up 'needs root: debootstrap and buildah make file systems (sudo test/image.sh)'
# shellcheck source=/dev/null
[[ $(. /etc/os-release && echo "${VERSION_CODENAME-}") == "$suite" ]] ||
  give_up "needs Debian $suite, because the image is made with the package sources of this machine"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/vfioscope/image
mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock -n "$lock" || give_up "another test/image.sh is running (it holds $cache/lock)"
# What a run that was killed has left. --one-file-system: never through a mount.
rm -rf --one-file-system "$cache"/run.*
run=$(mktemp -d "$cache/run.XXXXXX")

container=
clean_up() {
  local code=$?
  if ((code != 0)) && [[ -s $run/log ]]; then
    cp "$run/log" "$cache/failed.log"
    tail -n 40 "$run/log" >&2
    printf 'image: all of it is in %s\n' "$cache/failed.log" >&2
  fi
  [[ -z $container ]] || buildah "${storage[@]}" umount "$container" >/dev/null || true
  rm -rf --one-file-system "$run"
  ((code == 0)) || printf 'image: failed\n' >&2
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# A store of our own: nothing of it is seen by, or left to, the machine's engines.
storage=(--root "$run/store" --runroot "$run/runroot" --storage-driver vfs)
buildah() { command buildah "$@" {lock}>&-; }

step() {
  local name=$1 started=${EPOCHREALTIME/./}
  shift
  # Not in a condition, so that errexit works in the step.
  "$@" >"$run/log" 2>&1
  : >"$run/log"
  printf 'image  %-12s %5d.%d s\n' "$name" \
    $(((${EPOCHREALTIME/./} - started) / 1000000)) \
    $(((${EPOCHREALTIME/./} - started) / 100000 % 10))
}

ok() { printf 'ok  %s\n' "$1"; }
wrong() {
  printf 'not ok  %s\n%s\n' "$1" "${2-}" >&2
  exit 1
}

# ---------------------------------------------------------------- base images

install_packages() {
  local packages=() missing=()
  mapfile -t packages < <(cat "$@")
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  printf 'image: installing by apt-get: %s\n' "${missing[*]}" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" \
    >"$run/log" 2>&1
}

# Debian as images have it: the least, without documentation. Stands in for RUN_BASE.
make_base() {
  local mirror tree=$run/base
  # shellcheck disable=SC2016 # apt expands it
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' "Codename: $suite" 'Origin: Debian' | head -n 1)
  [[ $mirror ]] || give_up "apt knows no mirror of $suite; run apt-get update"
  debootstrap --variant=minbase "$suite" "$tree" "$mirror"
  rm -rf "$tree"/var/cache/apt/*.bin "$tree"/var/cache/apt/archives/*.deb "$tree"/var/lib/apt/lists/* \
    "$tree"/usr/share/{info,locale,man} "$tree"/var/log/*.log
  find "$tree/usr/share/doc" ! -type d ! -name copyright -delete
  find "$tree/usr/share/doc" -type d -empty -delete
  # The image has the machine's package sources while it is built, and not after that.
  rm -f "$tree/etc/apt/sources.list"
  tar -C "$tree" -cf "$run/base.tar" .
  rm -rf --one-file-system "$tree"
  mv "$run/base.tar" "$base"
}

# Node and npm, laid out as in the official Node image. With RUN_BASE it stands in for BUILD_BASE.
make_node() {
  local tree=$run/node architecture
  architecture=$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
  npm install --prefix "$tree" --no-save --ignore-scripts \
    "node-linux-$architecture@$node_version" "npm@$npm_version"
  mkdir -p "$tree/bin" "$tree/lib/node_modules"
  mv "$tree/node_modules/node-linux-$architecture/bin/node" "$tree/bin/"
  mv "$tree/node_modules/npm" "$tree/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$tree/bin/npm"
  rm -rf "$tree/node_modules" "$tree"/package*.json
  mv "$tree" "$node"
}

import_bases() {
  local working
  working=$(buildah "${storage[@]}" from scratch)
  buildah "${storage[@]}" add "$working" "$base" /
  buildah "${storage[@]}" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --cmd bash "$working"
  buildah "${storage[@]}" commit "$working" localhost/run-base
  buildah "${storage[@]}" copy "$working" "$node" /usr/local
  buildah "${storage[@]}" commit --rm "$working" localhost/build-base
}

# The machine's settings for apt and npm and the certificates that it trusts, for the
# time of the build. The two directories are there in every Debian, so that mounting
# over them leaves nothing in the image.
collect_settings() {
  local certificates=/etc/ssl/certs/ca-certificates.crt
  mkdir -p "$run/settings/npm"
  cp -rL /etc/apt "$run/settings/apt"
  cp "$certificates" "$run/settings/apt/ca-certificates.crt"
  echo 'Acquire::https::CAInfo "/etc/apt/ca-certificates.crt";' \
    >"$run/settings/apt/apt.conf.d/99vfioscope-image"
  # Away from the checkout, whose own settings are in the image anyway.
  (
    cd /
    umask 077
    for file in "$(npm config get globalconfig)" "$(npm config get userconfig)"; do
      [[ ! -f $file ]] || { cat "$file" && echo; }
    done
    echo 'cafile=/etc/apt/ca-certificates.crt'
  ) >"$run/settings/npm/npmrc" 2>/dev/null
}

build_image() {
  # The docker format, because the OCI one has no HEALTHCHECK.
  buildah "${storage[@]}" bud --isolation chroot --format docker \
    --volume "$run/settings/apt:/etc/apt:ro" \
    --volume "$run/settings/npm:/usr/local/etc:ro" \
    --build-arg BUILD_BASE=localhost/build-base \
    --build-arg RUN_BASE=localhost/run-base \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$revision" \
    --tag vfioscope .
}

# ---------------------------------------------------------------- content of the image

inspect() { buildah "${storage[@]}" inspect --type image --format "{{$1}}" vfioscope; }

check_config() {
  local label
  [[ $(inspect .Docker.Config.Entrypoint) == '[vfioscope]' ]] || wrong 'the entry point is vfioscope'
  [[ $(inspect .Docker.Config.Cmd) == '[run]' ]] || wrong 'it runs the agent by default'
  [[ $(inspect .Docker.Config.ExposedPorts) == *10055/tcp* ]] || wrong 'port 10055 is exposed'
  for label in title:vfioscope "version:$version" "revision:$revision"; do
    [[ $(inspect "index .Docker.Config.Labels \"org.opencontainers.image.${label%%:*}\"") == "${label#*:}" ]] ||
      wrong "the label ${label%%:*} is ${label#*:}"
  done
  ok 'entry point, port and labels'
}

check_files() {
  local root=$1 tool object found
  for tool in cc gcc g++ clang ld llvm-strip make npm npx corepack python3; do
    found=$(find "$root"/{,usr/,usr/local/}{bin,sbin} -name "$tool" -o -name "$tool-[0-9]*")
    [[ -z $found ]] || wrong "there is no $tool" "$found"
  done
  ok 'no compiler, no npm'
  [[ -s $root/usr/lib/vfioscope/dist/bpf/vfioscope.bpf.o ]] || wrong 'the probes are in the image'
  [[ -s $root/usr/lib/vfioscope/dist/bpf/vfioscope-typed.bpf.o ]] || wrong 'the probes for newer kernels are in the image'
  ok 'the probes are there'
  found=$(cd "$root/usr/lib/vfioscope/node_modules" && echo * @*/*)
  [[ $found == '@koromix koffi @koromix/koffi-linux-'* ]] || wrong 'koffi is the only module in node_modules' "$found"
  ok "of node_modules only koffi is there"
  found=$(find "$root"/{usr/local/etc,var/lib/apt/lists,root,tmp} -mindepth 1 \
    ! -name .bashrc ! -name .profile)
  [[ ! -e $root/etc/apt/ca-certificates.crt && -z $found ]] ||
    wrong "nothing of this machine's settings stayed" "$found"
  ok "nothing of this machine's settings stayed"
}

# ---------------------------------------------------------------- behaviour on this machine

in_image() { buildah "${storage[@]}" run --isolation chroot "$@"; }
capabilities=(--cap-add CAP_BPF --cap-add CAP_PERFMON --cap-add CAP_SYS_ADMIN)

check_version() {
  local said
  said=$(in_image "$container" -- vfioscope --version)
  [[ $said == "$version" ]] || wrong "it is version $version" "$said"
  ok "vfioscope --version: $said"
}

# check_doctor TITLE COMMAND...: what doctor says agrees with this machine's kernel.
check_doctor() {
  local title=$1 said code=0
  shift
  # On a busy machine buildah may end before it has passed on what was said.
  for _ in 1 2 3; do
    code=0
    said=$("$@" 2>&1) || code=$?
    [[ $said == *vfioscope* ]] && break
  done
  case $code in
  0 | 1) ;;
  2) if [[ ! -e /sys/bus/event_source/devices/kprobe ]]; then
    [[ $said == *'built without kprobes'* ]] || wrong "$title: the missing kprobes of the kernel are reported" "$said"
  else
    wrong "$title: it works on this kernel" "$said"
  fi ;;
  *) wrong "$title: the exit code is 0, 1 or 2, not $code" "$said" ;;
  esac
  grep -Eq "kernel +$(uname -r | sed 's/[.+]/\\&/g')\$" <<<"$said" || wrong "$title: the kernel is named" "$said"
  grep -Eq 'libbpf +v[0-9]' <<<"$said" || wrong "$title: libbpf is found" "$said"
  ok "$title: exit $code, $(sed -n 's/^ *ok *libbpf */libbpf /p' <<<"$said"), $(grep '^vfioscope\|^everything' <<<"$said")"
}

check_without_rights() {
  local said code=0
  said=$(in_image "$container" -- vfioscope doctor 2>&1) || code=$?
  [[ $code == 2 && $said == *'lacks CAP_'* ]] || wrong "without capabilities it says which are missing" "$said"
  ok "without capabilities it says which are missing"
}

# A copy of nothing: the image's files, read-only, in a mount namespace that ends with the command.
read_only() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation private -- bash -euc '
    root=$1; shift
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    for directory in proc sys dev; do mount --rbind "/$directory" "$root/$directory"; done
    ! chroot "$root" touch /root/written 2>/dev/null || { echo "not read-only"; exit 99; }
    exec chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin "$@"
  ' read_only "$@"
}

# ---------------------------------------------------------------- behaviour in the lab

run_lab() {
  local image_id
  image_id=$(buildah "${storage[@]}" images --quiet --no-trunc vfioscope)
  # The lab wants the Node that it is tested with.
  PATH=$node/bin:$PATH node test/lab/main.ts --kernel 6.12 --memory 3072 --timeout 600 \
    -- bash test/image/in-lab.sh "$run/store" "${image_id#sha256:}"
}

# ----------------------------------------------------------------

install_packages test/image/packages.txt
base=$cache/base-$suite.tar
node=$cache/node-$node_version-npm-$npm_version
if $refresh; then rm -rf --one-file-system "$base" "$node"; fi
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

[[ -e $base ]] || step debootstrap make_base
[[ -e $node ]] || step node make_node
step settings collect_settings
step bases import_bases
step build build_image
rm -rf "$run/settings"

container=$(buildah "${storage[@]}" from --pull-never vfioscope)
root=$(buildah "${storage[@]}" mount "$container")
printf 'image  size         %d MB\n' "$(($(du -sx --block-size=1 "$root" | cut -f 1) / 1000000))"

check_config
check_files "$root"
check_version
check_doctor 'vfioscope doctor' in_image "${capabilities[@]}" "$container" -- vfioscope doctor
check_doctor 'on a read-only root' read_only "$root" vfioscope doctor
check_without_rights

if $lab; then
  install_packages test/image/packages-lab.txt test/lab/packages.txt
  run_lab
fi
