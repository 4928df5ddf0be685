/** Every rule that vfioscope knows, in the order in which docs and doctor list them. */
import { duplicateUuid } from './duplicate-uuid.ts';
import { kvmClearedWhileOpen } from './kvm-cleared-while-open.ts';
import { kvmRefLeak } from './kvm-ref-leak.ts';
import { nestedOpen } from './nested-open.ts';
import { openDuringUnregister } from './open-during-unregister.ts';
import { openFailed } from './open-failed.ts';
import { openWithoutKvm } from './open-without-kvm.ts';
import { removeBeforeCreateDone } from './remove-before-create-done.ts';
import { removeFileLost } from './remove-file-lost.ts';
import { removeStall } from './remove-stall.ts';
import { removedWhileOpen } from './removed-while-open.ts';
import type { Rule } from './rule.ts';
import { uuidHeldByDyingDevice } from './uuid-held-by-dying-device.ts';
import { vmPinnedByDevice } from './vm-pinned-by-device.ts';

export const RULES: readonly Rule[] = [
  duplicateUuid,
  uuidHeldByDyingDevice,
  removeBeforeCreateDone,
  removeFileLost,
  removeStall,
  removedWhileOpen,
  openDuringUnregister,
  openWithoutKvm,
  kvmClearedWhileOpen,
  vmPinnedByDevice,
  nestedOpen,
  openFailed,
  kvmRefLeak,
];
