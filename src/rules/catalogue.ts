/** Every rule that vfioscope knows, by topic and in the order in which docs and doctor list them. */
import { childOutlivesParent } from './child-outlives-parent.ts';
import { containerDetachedWhileOpen } from './container-detached-while-open.ts';
import { createRacesParentUnregister } from './create-races-parent-unregister.ts';
import { createSerialised } from './create-serialised.ts';
import { deviceKvmRefsUnbalanced } from './device-kvm-refs-unbalanced.ts';
import { driverGoneBeforeParent } from './driver-gone-before-parent.ts';
import { duplicateUuid } from './duplicate-uuid.ts';
import { duplicateUuidLive } from './duplicate-uuid-live.ts';
import { failedCreateLeak } from './failed-create-leak.ts';
import { foreignOpener } from './foreign-opener.ts';
import { groupClosedWithOpenDevice } from './group-closed-with-open-device.ts';
import { instancesExhausted } from './instances-exhausted.ts';
import { kvmCaptureRefused } from './kvm-capture-refused.ts';
import { kvmChangedWhileOpen } from './kvm-changed-while-open.ts';
import { kvmClearedWhileOpen } from './kvm-cleared-while-open.ts';
import { kvmDestroyedWhileCaptured } from './kvm-destroyed-while-captured.ts';
import { kvmRefLeak } from './kvm-ref-leak.ts';
import { kvmRefUnderflow } from './kvm-ref-underflow.ts';
import { kvmSetAfterOpen } from './kvm-set-after-open.ts';
import { kvmUsedTwice } from './kvm-used-twice.ts';
import { mdevDriverless } from './mdev-driverless.ts';
import { mdevReleaseDelayed } from './mdev-release-delayed.ts';
import { nestedOpen } from './nested-open.ts';
import { notifierErrorIgnored } from './notifier-error-ignored.ts';
import { observerGap } from './observer-gap.ts';
import { openCountMismatch } from './open-count-mismatch.ts';
import { openDuringUnregister } from './open-during-unregister.ts';
import { openFailed } from './open-failed.ts';
import { openWithoutKvm } from './open-without-kvm.ts';
import { orphanChild } from './orphan-child.ts';
import { parentUnregisterStall } from './parent-unregister-stall.ts';
import { releaseWaitStall } from './release-wait-stall.ts';
import { removeBeforeCreateDone } from './remove-before-create-done.ts';
import { removeFailed } from './remove-failed.ts';
import { removeFileLost } from './remove-file-lost.ts';
import { removeOrderViolated } from './remove-order-violated.ts';
import { removeRacesParentUnregister } from './remove-races-parent-unregister.ts';
import { removeStall } from './remove-stall.ts';
import { removedByAnother } from './removed-by-another.ts';
import { removedWhileOpen } from './removed-while-open.ts';
import { requestIgnored } from './request-ignored.ts';
import type { Rule } from './rule.ts';
import { unsetContainerBusy } from './unset-container-busy.ts';
import { uuidHeldByDyingDevice } from './uuid-held-by-dying-device.ts';
import { vfioDoubleInit } from './vfio-double-init.ts';
import { vfioDoubleRegister } from './vfio-double-register.ts';
import { vfioModulePinned } from './vfio-module-pinned.ts';
import { vfioNeverRegistered } from './vfio-never-registered.ts';
import { vfioPutUnbalanced } from './vfio-put-unbalanced.ts';
import { vfioReleaseMissing } from './vfio-release-missing.ts';
import { vmPinnedByDevice } from './vm-pinned-by-device.ts';

export interface Topic {
  readonly title: string;
  readonly rules: readonly Rule[];
}

export const TOPICS: readonly Topic[] = [
  {
    title: 'Creating and removing mdevs',
    rules: [
      removeOrderViolated,
      removeFailed,
      removeBeforeCreateDone,
      removeFileLost,
      duplicateUuid,
      duplicateUuidLive,
      uuidHeldByDyingDevice,
      failedCreateLeak,
      removeStall,
      removedByAnother,
      openDuringUnregister,
      removedWhileOpen,
      removeRacesParentUnregister,
      createRacesParentUnregister,
      orphanChild,
      childOutlivesParent,
      parentUnregisterStall,
      mdevReleaseDelayed,
      mdevDriverless,
      driverGoneBeforeParent,
      createSerialised,
      instancesExhausted,
    ],
  },
  {
    title: 'The life of a vfio_device',
    rules: [
      vfioDoubleInit,
      vfioReleaseMissing,
      releaseWaitStall,
      vfioPutUnbalanced,
      vfioNeverRegistered,
      vfioDoubleRegister,
    ],
  },
  {
    title: 'Opening a device, and its VM',
    rules: [
      openWithoutKvm,
      kvmSetAfterOpen,
      kvmClearedWhileOpen,
      kvmChangedWhileOpen,
      kvmDestroyedWhileCaptured,
      kvmCaptureRefused,
      kvmRefLeak,
      kvmRefUnderflow,
      deviceKvmRefsUnbalanced,
      vmPinnedByDevice,
      kvmUsedTwice,
      foreignOpener,
      notifierErrorIgnored,
      openCountMismatch,
      nestedOpen,
      openFailed,
    ],
  },
  {
    title: 'Operation',
    rules: [
      requestIgnored,
      groupClosedWithOpenDevice,
      unsetContainerBusy,
      containerDetachedWhileOpen,
      vfioModulePinned,
      observerGap,
    ],
  },
];

export const RULES: readonly Rule[] = TOPICS.flatMap(({ rules }) => rules);
