// SPDX-License-Identifier: Apache-2.0
/**
 * Every program that scripts, tests and the lab start, and the package that it comes from. A check
 * finds the programs in the sources, and fails when one is missing here, when a row is not used, or
 * when no list of packages that is installed where the program is started has its package.
 */

/** In every Debian system: essential and required packages. */
export const BASE: ReadonlySet<string> = new Set([
  ...['apt', 'bash', 'bsdutils', 'coreutils', 'dash', 'dpkg', 'findutils', 'grep', 'mount'],
  ...['perl-base', 'sed', 'tar', 'util-linux'],
]);

/** Programs that no installed Debian package brings. */
export const OTHERS = {
  /** README.md asks for it, or test/setup.sh gets it from npm. */
  setup: 'setup',
  /** The lab compiles it. */
  lab: 'lab',
} as const;

/** Programs by their packages; those of npm, in package.json, are written "npm:NAME". */
const PROGRAMS_OF: Readonly<Record<string, string>> = {
  [OTHERS.setup]: 'git node npm npx',
  [OTHERS.lab]: 'storm vmm',
  'npm:@biomejs/biome': 'biome',
  'npm:typescript': 'tsc',

  apt: 'apt-cache apt-config apt-get',
  bash: 'bash',
  bsdutils: 'renice script',
  coreutils:
    'basename cat chmod chroot cp cut date dirname du env head id install ln ls mkdir mkfifo mktemp mv ' +
    'nproc readlink realpath rm sleep sort tail tee touch uname uniq wc',
  dash: 'sh',
  dpkg: 'dpkg-deb dpkg-query',
  findutils: 'find',
  grep: 'grep',
  mount: 'mount umount',
  'perl-base': 'perl',
  sed: 'sed',
  tar: 'tar',
  'util-linux': 'dmesg flock prlimit setarch setpriv unshare',

  bpftool: 'bpftool',
  bpftrace: 'bpftrace',
  buildah: 'buildah',
  'build-essential': 'gcc',
  'busybox-static': 'busybox',
  clang: 'clang',
  curl: 'curl',
  debootstrap: 'debootstrap',
  jq: 'jq',
  kmod: 'depmod insmod modinfo modprobe rmmod',
  'libvirt-clients': 'virsh',
  'libvirt-daemon': 'libvirtd virtlogd',
  'librsvg2-bin': 'rsvg-convert',
  llvm: 'llvm-strip',
  make: 'make',
  mdevctl: 'mdevctl',
  openssl: 'openssl',
  podman: 'podman',
  pngquant: 'pngquant',
  procps: 'pgrep pkill ps sysctl uptime',
  prometheus: 'prometheus promtool',
  'prometheus-alertmanager': 'amtool prometheus-alertmanager',
  'qemu-system-x86': 'qemu-system-x86_64',
  'victoria-metrics': 'victoria-metrics vmalert',
  'xz-utils': 'xz',
};

/** Programs that run before the lab's VM has this machine's files: all of them are busybox. */
export const INITRAMFS: Readonly<Record<string, string>> = {
  'busybox-static': 'busybox cp hostname insmod ip ln mkdir mount reboot switch_root',
};

/** The package of each program. */
export function packages(table: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(table).flatMap(([name, programs]) =>
      programs.split(' ').map((program) => [program, name] as const),
    ),
  );
}

export const PROGRAMS = packages(PROGRAMS_OF);

/** What to install for a program that is missing; undefined if no Debian package brings it. */
export function debianPackageOf(program: string): string | undefined {
  const name = PROGRAMS.get(program);
  return name === undefined || /^npm:/.test(name) || Object.hasOwn(OTHERS, name) ? undefined : name;
}
