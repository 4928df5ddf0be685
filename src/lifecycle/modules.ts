/** Kernel modules that somebody wants to go: delete_module() in kernel/module/main.c. */
import type { Handlers } from './world.ts';

export const MODULE_HANDLERS: Handlers = {
  'module.unload:begin'(world, event, moment) {
    moment.module = event.name('device');
    world.unloading.set(event.tid, moment.module);
  },

  'module.unload:end'(world, event, moment) {
    moment.module = world.unloading.get(event.tid);
    world.unloading.delete(event.tid);
  },
};
