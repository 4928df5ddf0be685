/** For tests: a reader of a pinned ring, in a process of its own that may be killed. */
import { mapEntries } from '../../src/kernel/attach.ts';
import { Libbpf } from '../../src/kernel/libbpf.ts';
import { PinDirectory } from '../../src/kernel/pins-directory.ts';
import { Session } from '../../src/kernel/pins-session.ts';
import { RingReader } from '../../src/kernel/ring.ts';

const [, , path] = process.argv;
const cpus = Libbpf.get().calls.possibleCpus();
const directory = PinDirectory.own(path);
const session = directory?.map('session');
const events = directory?.map('events');
if (session === undefined || events === undefined) throw new Error(`${path} is owned or empty`);
const { progress } = Session.open(session, cpus);
const ring = new RingReader(events, mapEntries(events), progress);
console.log('reading');
for (;;) if (ring.drain(1000, () => {}) === 0) await new Promise((next) => setTimeout(next, 1));
