// SPDX-License-Identifier: Apache-2.0
/** A real libvirtd in the lab's VM, with domains that run on KVM and have an mdev. */
import { until } from '../until.ts';
import type { LabSession } from './lab-session.ts';

/** The VM has no systemd, no security module and nothing to protect: QEMU runs as root, in libvirtd's own group. */
const QEMU_CONF = [
  ...['user = "root"', 'group = "root"', 'security_driver = "none"', 'cgroup_controllers = [ ]'],
  ...['remember_owner = 0', 'namespaces = [ ]'],
].join('\n');
const DIRECTORIES =
  '/etc/libvirt /run/libvirt /var/log/libvirt/qemu /var/lib/libvirt/qemu /var/cache/libvirt/qemu';
/** libvirt-daemon-system would make it, and the driver does not start without it. */
const USER = 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/bin/false';
const GROUP = 'libvirt-qemu:x:64055:';

export interface Domain {
  readonly name: string;
  readonly uuid: string;
  /** The UUID of the mdev. */
  readonly device: string;
}

export class Libvirt {
  readonly #session: LabSession;

  private constructor(session: LabSession) {
    this.#session = session;
  }

  /** Starts its daemons, and waits until they answer. */
  static async start(session: LabSession): Promise<Libvirt> {
    await session.sh(`mkdir -p ${DIRECTORIES}`);
    await session.sh(`echo '${USER}' >> /etc/passwd; echo '${GROUP}' >> /etc/group`);
    await session.sh(`echo '${QEMU_CONF}' > /etc/libvirt/qemu.conf`);
    const { vm } = session;
    let output = '';
    let ended: string | undefined;
    const collect = (chunk: Buffer) => {
      output += chunk.toString();
    };
    const log = vm.start(['virtlogd'], { onStdout: collect, onStderr: collect });
    const daemon = vm.start(['libvirtd'], { onStdout: collect, onStderr: collect });
    // They end with the VM.
    for (const { exit } of [log, daemon]) {
      exit.then(
        ({ exitCode }) => {
          ended = `a daemon of libvirt ended with ${exitCode}`;
        },
        () => {},
      );
    }
    await until('libvirtd answers', () => session.try('virsh version'), {
      over: () => ended,
      more: () => `; its output: ${output}`,
    });
    return new Libvirt(session);
  }

  /** Defines a domain; libvirt examines QEMU before the first one. */
  async define({ name, uuid, device }: Domain): Promise<void> {
    const xml = [
      `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid>`,
      "<memory unit='MiB'>64</memory><vcpu>1</vcpu><cpu mode='host-passthrough'/>",
      "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>",
      "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'>",
      `<source><address uuid='${device}'/></source></hostdev>`,
      "<memballoon model='none'/></devices></domain>",
    ].join('');
    await this.#session.sh(`echo "${xml}" > /tmp/${name}.xml; virsh define /tmp/${name}.xml`);
  }

  start(name: string): Promise<string> {
    return this.#session.sh(`virsh start ${name}`);
  }

  /** Ends the domain's QEMU, and forgets the domain. */
  async destroy(name: string): Promise<void> {
    await this.#session.sh(`virsh destroy ${name}`);
    await this.#session.sh(`virsh undefine ${name}`);
  }
}
