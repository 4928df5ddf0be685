/** Reads the path of a control group: the systemd unit and the container behind a process. */
import { plain } from '../plain.ts';

/** Which unit, container or VM a process belongs to, by the path of its control group. */
export interface Belonging {
  /**
   * The unit, as `systemctl status` names it but with `\x2d` and the like decoded. Behind its manager where
   * that is a user's, who may name units like those of the host: user@1000.service/libvirtd.service.
   */
  readonly unit?: string;
  /** The container's id, or its name where the runtime knows it by that. */
  readonly container?: string;
  /** The UID of the pod, with "-" as Kubernetes writes it. */
  readonly pod?: string;
  /** The name of the guest that libvirt started in the scope. */
  readonly guest?: string;
}

/** systemd.unit(5): what has processes of its own. Slices only group these. */
const UNIT = /\.(?:service|scope|socket|mount|swap)$/;
/** The unit of a user's own systemd, which has units in turn. */
const USER_MANAGER = /^user@\d+\.service$/;
/**
 * docker-ID.scope, crio-ID.scope, cri-containerd-ID.scope, libpod-ID.scope; or the id alone, or behind
 * a colon, where a runtime makes the groups without systemd.
 */
const CONTAINER = /^(?:.*[-:])?([0-9a-f]{64})(?:\.scope)?$/;
/** The runtime's monitor of a container is not in it. */
const MONITOR = /conmon/;
/** kubelet's group of a pod, by its UID; systemd's name has "_" for "-". */
const POD = /\bpod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})\b/;
/** systemd-machined's scope of a VM of libvirt, decoded: driver, number, and the name without odd characters. */
const GUEST = /^machine-(?:qemu|ch)-\d+-(.+)\.scope$/;
const LXC = /^lxc\.payload\.(.+)$/;

/**
 * @param path below the root of the hierarchy, such as "/machine.slice/machine-qemu\x2d1\x2da.scope".
 *   Of units within units and containers within containers the outermost counts, which the host
 *   itself knows; but a user's units together with the manager of all of them.
 */
export function belongingOf(path: string): Belonging {
  const names = path.split('/');
  const units = names.map(unescapeGroup).filter((name) => UNIT.test(name));
  const manager = units[0] !== undefined && USER_MANAGER.test(units[0]) ? units[0] : undefined;
  const own = units.find((name) => !USER_MANAGER.test(name));
  const unit = manager && own ? `${manager}/${own}` : (own ?? manager);
  const container = names.map(containerOf).find((id) => id !== undefined);
  const decoded = unit === undefined ? undefined : decodeUnit(unit);
  const pod = POD.exec(path)?.[1].replaceAll('_', '-');
  const guest = decoded && GUEST.exec(decoded)?.[1];
  return {
    ...(decoded === undefined ? {} : { unit: decoded }),
    ...(container === undefined ? {} : { container: plain(container) }),
    ...(pod === undefined ? {} : { pod }),
    ...(guest === undefined ? {} : { guest }),
  };
}

/**
 * The path that /proc/PID/cgroup shows: that of cgroup v2, or where everything is in its root, as
 * with v1 alone, that of systemd's own hierarchy. Undefined when neither is there. Seen from
 * another control group namespace it begins with "..", which says nothing.
 */
export function groupPathIn(text: string): string | undefined {
  const lines = text.split('\n').map((line) => /^\d+:([^:]*):(.*)$/.exec(line));
  const of = (controllers: string) => lines.find((line) => line?.[1] === controllers)?.[2];
  const unified = of('');
  const path = unified === undefined || unified === '/' ? (of('name=systemd') ?? unified) : unified;
  return path?.replace(/^(?:\/\.\.)+(?=\/|$)/, '') || (path && '/');
}

function containerOf(name: string): string | undefined {
  if (MONITOR.test(name)) return undefined;
  return CONTAINER.exec(name)?.[1] ?? LXC.exec(name)?.[1];
}

/** systemd puts "_" before names that the kernel could take for files of its own. */
function unescapeGroup(name: string): string {
  return name.startsWith('_') ? name.slice(1) : name;
}

/**
 * systemd.unit(5), "String escaping for inclusion in unit names": bytes as \xHH, and no "%". Anybody may make
 * groups of other names; what cannot be decoded is kept as it is written.
 */
function decodeUnit(name: string): string {
  try {
    return plain(decodeURIComponent(name.replace(/\\x([0-9a-f]{2})/g, '%$1')));
  } catch {
    return plain(name);
  }
}
