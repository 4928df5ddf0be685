#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Started by test/image.sh --lab in the lab's VM: runs the image with the command of
# docs/container.md, in podman, on a kernel with real mdev, VFIO and KVM.
#   in-lab.sh STORE IMAGE_ID
set -euo pipefail
store=$1 image=$2

ok() { printf 'ok  in the lab: %s\n' "$1"; }
wrong() {
  printf 'not ok  in the lab: %s\n%s\n' "$1" "${2-}" >&2
  exit 1
}

# The image is in the store that built it. The VM may write there: that stays in its memory.
# Its errors are hidden, not its commands': it misses systemd, which would time health checks.
docker() {
  podman --log-level fatal --root "$store" --runroot /run/containers --storage-driver vfs \
    --cgroup-manager cgroupfs --events-backend none --runtime crun "$@"
}

# The block after the line `<!-- tested: NAME -->` of the page, so that the page cannot be wrong.
from_docs() {
  sed -n "/^<!-- tested: $1 -->\$/,/^\`\`\`\$/p" docs/container.md | sed '/^<!--/d; /^```/d'
}
for block in doctor run; do
  [[ $(from_docs "$block") == 'docker run '* ]] || wrong "docs/container.md says how to $block"
done

modprobe -a mtty kvm-amd vfio_iommu_type1
docker tag "$image" vfioscope

said=$(eval "$(from_docs doctor)") || wrong "doctor exits with 0, not $?" "$said"
[[ $said == *'everything works on this host' && $said != *'  no '* ]] || wrong 'every point is attached' "$said"
[[ $said == *'kretprobe:1000'* ]] || wrong 'tracefs can be written to' "$said"
ok "doctor, exit 0: $(grep -c '(kprobe\|(tracepoint\|(kretprobe' <<<"$said") points attached on $(uname -r)"

eval "$(from_docs run)" >/dev/null
ask() { docker exec vfioscope node -e "$1"; }
for _ in {1..60}; do
  ! docker healthcheck run vfioscope >/dev/null 2>&1 || break
  sleep 0.5
done
docker healthcheck run vfioscope >/dev/null || wrong 'the agent is healthy' "$(docker logs vfioscope 2>&1)"
ok 'the agent is healthy, by its own health check'

! docker logs vfioscope 2>&1 | grep criticals.not_kept || wrong 'critical violations are kept'
ok 'critical violations are kept over restarts'

confined=$(ask "console.log(/^Seccomp:\\s+(\\d)/m.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[1])")
[[ $confined == 2 ]] || wrong 'it runs under the default seccomp profile' "$confined"
ok 'it runs under the default seccomp profile'

uuid=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
mdev=(/sys/class/mdev_bus/*)
echo "$uuid" >"${mdev[0]}/mdev_supported_types/mtty-2/create"
seen=$(ask "
  const ask = async () => (await fetch('http://127.0.0.1:10055/api/v1/devices')).text();
  let said = await ask();
  for (let i = 0; i < 40 && !said.includes('$uuid'); i++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    said = await ask();
  }
  console.log(said);")
[[ $seen == *"$uuid"* ]] || wrong 'a device of the host is seen' "$seen"
ok 'a device of the host is seen'

# A file of a process of another user, as QEMU is: that is what the last two capabilities are for.
setpriv --reuid 65534 --regid 65534 --clear-groups sleep 600 </dev/null &
sleeper=$!
sleep 1
found=$(ask "console.log(require('fs').readlinkSync('/proc/$sleeper/fd/0'))" 2>&1) || true
[[ $found == /dev/null ]] || wrong "another user's files are seen" "$found"
ok "another user's open files are seen"
kill "$sleeper"

started=$SECONDS
docker stop --time 20 vfioscope >/dev/null
((SECONDS - started < 15)) || wrong 'it stops on SIGTERM'
! grep -q vfioscope /sys/kernel/tracing/kprobe_events || wrong 'it leaves no probe behind'
ok 'it stops on SIGTERM, and leaves no probe behind'
