// SPDX-License-Identifier: Apache-2.0
/** The programs that people use: QEMU and mdevctl. */
import { randomUUID } from 'node:crypto';
import { type Done, NOTHING, withoutKvm } from './expected.ts';
import { useWithoutVm } from './files.ts';
import { CARD, type Ground, MTTY } from './ground.ts';
import { card, mdev, Qemu } from './qemu.ts';

/** QEMU takes an mdev at its start and by hot-plug, quits, and is killed. */
export async function qemuWithMdev(ground: Ground, plugs: number): Promise<Done> {
  const [cold, hot] = [await ground.create(), await ground.create()];
  const qemu = await Qemu.start(ground.vm, mdev(cold));
  for (let plug = 0; plug < plugs; plug++) {
    if (plug === 1) await qemu.run();
    await qemu.plug(mdev(hot));
    await qemu.unplug();
  }
  await qemu.quit();
  const killed = await Qemu.start(ground.vm, mdev(cold), mdev(hot));
  await killed.run();
  await killed.kill();
  for (const uuid of [cold, hot]) await ground.remove(uuid);
  return NOTHING;
}

/** A card goes from its own driver to vfio-pci and back, and is used in between. */
export async function lendCard(ground: Ground, times: number): Promise<Done> {
  for (let time = 0; time < times; time++) {
    await ground.bindCard('e1000e');
    await ground.bindCard('vfio-pci');
    const vmm = ground.vmm('qemu-card');
    for (let start = 0; start < 3; start++) {
      await vmm.order(`start a ${CARD}`);
      await vmm.order('stop a');
    }
    await vmm.order(`start a ${CARD}`);
    await vmm.kill();
  }
  await ground.bindCard('e1000e');
  await ground.unbindCard();
  return NOTHING;
}

export async function cardWithoutVm(ground: Ground): Promise<Done> {
  await ground.bindCard('vfio-pci');
  await useWithoutVm(ground, CARD);
  await ground.unbindCard();
  return { expected: [withoutKvm(CARD)] };
}

/** QEMU has the card by hot-plug; at last its driver wants it back, and QEMU lets go when asked. */
export async function qemuWithCard(ground: Ground, plugs: number): Promise<Done> {
  await ground.bindCard('vfio-pci');
  const qemu = await Qemu.start(ground.vm);
  for (let plug = 0; plug < plugs; plug++) {
    await qemu.plug(card(CARD));
    await qemu.unplug();
  }
  await qemu.plug(card(CARD));
  const gone = qemu.unplugged();
  await ground.unbindCard();
  await gone;
  await qemu.quit();
  return NOTHING;
}

/** Devices as mdevctl keeps them: defined once, started and stopped, also all of a parent at once. */
export async function mdevctl(ground: Ground, times: number): Promise<Done> {
  const [parent, type] = MTTY;
  const [manual, automatic] = [randomUUID(), randomUUID()];
  await ground.sh(`mdevctl define --uuid ${manual} --parent ${parent} --type ${type}`);
  await ground.sh(`mdevctl define --auto --uuid ${automatic} --parent ${parent} --type ${type}`);
  for (let time = 0; time < times; time++) {
    await ground.sh(`mdevctl start --uuid ${manual}`);
    await ground.sh(`mdevctl start-parent-mdevs ${parent}`);
    await ground.sh('mdevctl types && mdevctl list');
    const vmm = ground.vmm('qemu-defined');
    for (const uuid of [manual, automatic]) {
      await vmm.order(`start a ${uuid}`);
      await vmm.order('stop a');
      await ground.sh(`mdevctl stop --uuid ${uuid}`);
    }
    await vmm.order('quit');
  }
  for (const uuid of [manual, automatic]) await ground.sh(`mdevctl undefine --uuid ${uuid}`);
  return NOTHING;
}
