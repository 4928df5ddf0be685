// SPDX-License-Identifier: Apache-2.0
/** Loads by the programs that operators use: QEMU and mdevctl. */
import { randomUUID } from 'node:crypto';
import { type LoadResult, NOTHING, withoutKvm } from './expected.ts';
import { useWithoutVm } from './files.ts';
import { card, mdev, Qemu } from './qemu.ts';
import { CARD, MTTY, type SoakSession } from './session.ts';

/** QEMU gets an mdev at its start and by hot-plug, quits, and is killed. */
export async function qemuWithMdev(session: SoakSession, plugs: number): Promise<LoadResult> {
  const [cold, hot] = [await session.create(), await session.create()];
  const qemu = await Qemu.start(session.vm, session.qemu, mdev(cold));
  for (let plug = 0; plug < plugs; plug++) {
    if (plug === 1) await qemu.run();
    await qemu.plug(mdev(hot));
    await qemu.unplug();
  }
  await qemu.quit();
  const killed = await Qemu.start(session.vm, session.qemu, mdev(cold), mdev(hot));
  await killed.run();
  await killed.kill();
  for (const uuid of [cold, hot]) await session.remove(uuid);
  return NOTHING;
}

/** A card is bound to vfio-pci and back to its own driver, and is used in between. */
export async function assignCard(session: SoakSession, times: number): Promise<LoadResult> {
  for (let time = 0; time < times; time++) {
    await session.bindCard('e1000e');
    await session.bindCard('vfio-pci');
    const vmm = session.vmm('qemu-card');
    for (let start = 0; start < 3; start++) {
      await vmm.command(session.path.start('a', CARD));
      await vmm.command(session.path.stop('a'));
    }
    await vmm.command(session.path.start('a', CARD));
    await vmm.kill();
  }
  await session.bindCard('e1000e');
  await session.unbindCard();
  return NOTHING;
}

export async function cardWithoutVm(session: SoakSession): Promise<LoadResult> {
  await session.bindCard('vfio-pci');
  await useWithoutVm(session, CARD);
  await session.unbindCard();
  return { expected: [withoutKvm(CARD)] };
}

/** QEMU gets the card by hot-plug; at last the card is unbound while in use, and QEMU releases it on request. */
export async function qemuWithCard(session: SoakSession, plugs: number): Promise<LoadResult> {
  await session.bindCard('vfio-pci');
  if (session.byCdev) {
    // A launcher opens the files, as libvirt does for a QEMU without privileges.
    const given = await Qemu.startWithFiles(session.vm, session.qemu, await session.cdevOfCard());
    await given.run();
    await given.quit();
  }
  const qemu = await Qemu.start(session.vm, session.qemu);
  for (let plug = 0; plug < plugs; plug++) {
    await qemu.plug(card(CARD));
    await qemu.unplug();
  }
  await qemu.plug(card(CARD));
  const gone = qemu.unplugged();
  await session.unbindCard();
  await gone;
  await qemu.quit();
  return NOTHING;
}

/** Devices as mdevctl keeps them: defined once, started and stopped, also all of a parent at once. */
export async function mdevctl(session: SoakSession, times: number): Promise<LoadResult> {
  const [parent, type] = MTTY;
  const [manual, automatic] = [randomUUID(), randomUUID()];
  await session.sh(`mdevctl define --uuid ${manual} --parent ${parent} --type ${type}`);
  await session.sh(`mdevctl define --auto --uuid ${automatic} --parent ${parent} --type ${type}`);
  for (let time = 0; time < times; time++) {
    await session.sh(`mdevctl start --uuid ${manual}`);
    await session.sh(`mdevctl start-parent-mdevs ${parent}`);
    await session.sh('mdevctl types && mdevctl list');
    const vmm = session.vmm('qemu-defined');
    for (const uuid of [manual, automatic]) {
      await vmm.command(session.path.start('a', uuid));
      await vmm.command(session.path.stop('a'));
      await session.sh(`mdevctl stop --uuid ${uuid}`);
    }
    await vmm.command('quit');
  }
  for (const uuid of [manual, automatic]) await session.sh(`mdevctl undefine --uuid ${uuid}`);
  return NOTHING;
}
