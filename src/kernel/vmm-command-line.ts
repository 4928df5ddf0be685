/**
 * Finds the guest's name and UUID in the command line of a VMM. Nothing else of it is kept: other arguments
 * may be secrets.
 */
import { basename, dirname } from 'node:path';
import { plain } from '../plain.ts';

/** What a command line says about the guest. */
export interface Guest {
  readonly name?: string;
  /** In small letters. */
  readonly uuid?: string;
}

/** Characters of a name that are kept; KubeVirt's namespace_name has 127 at most. */
const LONGEST = 128;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Names of an API socket that say nothing about the guest. */
const GENERIC = /^(?:api|clh-api|cloud-hypervisor|ch|firecracker)$/;

/** @param args the arguments, with the program first */
export function guestIn(args: readonly string[]): Guest {
  const program = basename(args[0] ?? '');
  if (/firecracker/.test(program)) return named(optionIn(args, 'id'));
  if (/cloud-hyper/.test(program)) return named(socketName(optionIn(args, 'api-socket')));
  if (!/qemu|kvm/.test(program)) return {};
  const uuid = guestUuid(args);
  return {
    ...named(guestOption(optionIn(args, 'name'))),
    ...(uuid !== undefined && UUID.test(uuid) ? { uuid: uuid.toLowerCase() } : {}),
  };
}

/** Of `-uuid UUID` and `-smbios type=1,uuid=UUID`, which Proxmox uses alone, the last: to QEMU both are the guest's. */
function guestUuid(args: readonly string[]): string | undefined {
  return args
    .flatMap((value, i) => {
      const option = args[i - 1]?.replace(/^--?/, '-');
      if (option === '-uuid') return [value];
      return option === '-smbios' ? systemUuid(value) : [];
    })
    .at(-1);
}

/** The UUID of the system (type 1) in a value of `-smbios`: `type=1,manufacturer=x,uuid=UUID`. */
function systemUuid(value: string): string[] {
  const parts = partsOf(value);
  if (!parts.includes('type=1')) return [];
  return parts.filter((part) => part.startsWith('uuid=')).map((part) => part.slice('uuid='.length));
}

function named(name: string | undefined): Guest {
  return name ? { name: plain(name.slice(0, LONGEST)) } : {};
}

/** The last of `-option VALUE`, `--option VALUE` and `--option=VALUE`. */
function optionIn(args: readonly string[], option: string): string | undefined {
  const equals = `--${option}=`;
  for (let i = args.length - 1; i > 0; i--) {
    if (args[i].startsWith(equals)) return args[i].slice(equals.length);
    if (args[i - 1] === `-${option}` || args[i - 1] === `--${option}`) return args[i];
  }
  return undefined;
}

/**
 * The guest's name in the value of QEMU's `-name`: `web-3`, `guest=web-3,debug-threads=on` or
 * `web-3,process=x`.
 */
function guestOption(value: string | undefined): string | undefined {
  const parts = partsOf(value ?? '');
  const own = parts.findLast((part) => part.startsWith('guest='))?.slice('guest='.length);
  const first = parts[0]?.includes('=') ? undefined : parts[0];
  return (own ?? first)?.replaceAll(',,', ',');
}

/** The parts of a value between its commas. A comma in a part is doubled. */
function partsOf(value: string): string[] {
  return value.match(/(?:[^,]|,,)+/g) ?? [];
}

/** `/run/web-3.sock` or `path=/run/web-3.sock`: "web-3"; the directory's name where the socket's is a generic one. */
function socketName(value: string | undefined): string | undefined {
  const path = value?.replace(/^path=/, '');
  if (!path || /[=,]/.test(path)) return undefined;
  const name = basename(path).replace(/\.[a-z]+$/, '');
  return GENERIC.test(name) ? basename(dirname(path)) : name;
}
