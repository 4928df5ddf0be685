/** Kernel modules that are loaded, and attempts to unload one: kernel/module/main.c. */
import type { Handlers } from './handler.ts';
import { endVmsWithoutKvm } from './kvm.ts';

export const MODULE_HANDLERS: Handlers = {
  'module.load:begin'(world, event) {
    // It is loaded again, so what there was before it is of a KVM that was unloaded.
    if (event.name('device') === 'kvm') endVmsWithoutKvm(world, event.time);
  },

  'module.unload:begin'(_world, event, transition) {
    transition.module = event.name('device');
  },

  'module.unload:end'(_world, _event, transition) {
    transition.module = transition.call?.module;
  },
};
