/** Every rule that vfioscope knows, by topic and in the order in which docs and doctor list them. */

import type { Rule } from './engine/rule.ts';
import { attachFailed } from './rules/attach-failed.ts';
import { bindFailed } from './rules/bind-failed.ts';
import { bindRefused } from './rules/bind-refused.ts';
import { bindStall } from './rules/bind-stall.ts';
import { callStall } from './rules/call-stall.ts';
import { cdevGroupConflict } from './rules/cdev-group-conflict.ts';
import { cdevNeverBound } from './rules/cdev-never-bound.ts';
import { childOutlivesParent } from './rules/child-outlives-parent.ts';
import { closeStall } from './rules/close-stall.ts';
import { containerDetachedWhileOpen } from './rules/container-detached-while-open.ts';
import { createFailed } from './rules/create-failed.ts';
import { createRacesParentUnregister } from './rules/create-races-parent-unregister.ts';
import { createSerialised } from './rules/create-serialised.ts';
import { createStall } from './rules/create-stall.ts';
import { deviceKvmRefsUnbalanced } from './rules/device-kvm-refs-unbalanced.ts';
import { dmaMapFailed } from './rules/dma-map-failed.ts';
import { driverGoneBeforeParent } from './rules/driver-gone-before-parent.ts';
import { duplicateUuid } from './rules/duplicate-uuid.ts';
import { duplicateUuidLive } from './rules/duplicate-uuid-live.ts';
import { failedCreateLeak } from './rules/failed-create-leak.ts';
import { foreignOpener } from './rules/foreign-opener.ts';
import { groupClosedWithOpenDevice } from './rules/group-closed-with-open-device.ts';
import { groupNotViable } from './rules/group-not-viable.ts';
import { instancesExhausted } from './rules/instances-exhausted.ts';
import { iommufdReleasedWhileBound } from './rules/iommufd-released-while-bound.ts';
import { kvmCaptureRefused } from './rules/kvm-capture-refused.ts';
import { kvmChangedWhileOpen } from './rules/kvm-changed-while-open.ts';
import { kvmClearedWhileOpen } from './rules/kvm-cleared-while-open.ts';
import { kvmDestroyedWhileCaptured } from './rules/kvm-destroyed-while-captured.ts';
import { kvmDroppedWhileOpen } from './rules/kvm-dropped-while-open.ts';
import { kvmRefLeak } from './rules/kvm-ref-leak.ts';
import { kvmRefUnderflow } from './rules/kvm-ref-underflow.ts';
import { kvmSetAfterBind } from './rules/kvm-set-after-bind.ts';
import { kvmSetAfterOpen } from './rules/kvm-set-after-open.ts';
import { kvmUsedTwice } from './rules/kvm-used-twice.ts';
import { mdevDriverless } from './rules/mdev-driverless.ts';
import { mdevReleaseDelayed } from './rules/mdev-release-delayed.ts';
import { nestedOpen } from './rules/nested-open.ts';
import { neverOpened } from './rules/never-opened.ts';
import { notifierErrorIgnored } from './rules/notifier-error-ignored.ts';
import { observerGap } from './rules/observer-gap.ts';
import { openCountMismatch } from './rules/open-count-mismatch.ts';
import { openDuringUnregister } from './rules/open-during-unregister.ts';
import { openFailed } from './rules/open-failed.ts';
import { openStall } from './rules/open-stall.ts';
import { openWithoutKvm } from './rules/open-without-kvm.ts';
import { orphanChild } from './rules/orphan-child.ts';
import { parentUnregisterStall } from './rules/parent-unregister-stall.ts';
import { releaseWaitStall } from './rules/release-wait-stall.ts';
import { removeBeforeCreateDone } from './rules/remove-before-create-done.ts';
import { removeFailed } from './rules/remove-failed.ts';
import { removeFileLost } from './rules/remove-file-lost.ts';
import { removeOrderViolated } from './rules/remove-order-violated.ts';
import { removeRacesParentUnregister } from './rules/remove-races-parent-unregister.ts';
import { removeStall } from './rules/remove-stall.ts';
import { removedByAnother } from './rules/removed-by-another.ts';
import { removedWhileOpen } from './rules/removed-while-open.ts';
import { requestIgnored } from './rules/request-ignored.ts';
import { unsetContainerBusy } from './rules/unset-container-busy.ts';
import { uuidHeldByDyingDevice } from './rules/uuid-held-by-dying-device.ts';
import { vfioDoubleInit } from './rules/vfio-double-init.ts';
import { vfioDoubleRegister } from './rules/vfio-double-register.ts';
import { vfioModulePinned } from './rules/vfio-module-pinned.ts';
import { vfioNeverRegistered } from './rules/vfio-never-registered.ts';
import { vfioPutUnbalanced } from './rules/vfio-put-unbalanced.ts';
import { vfioReleaseMissing } from './rules/vfio-release-missing.ts';
import { vmDestroyStall } from './rules/vm-destroy-stall.ts';
import { vmPinnedByDevice } from './rules/vm-pinned-by-device.ts';
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
      createFailed,
      failedCreateLeak,
      createStall,
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
      neverOpened,
      instancesExhausted,
    ],
  },
  {
    title: 'The lifecycle of a vfio_device',
    rules: [
      bindFailed,
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
      groupNotViable,
      openStall,
      closeStall,
      dmaMapFailed,
    ],
  },
  {
    title: 'Device cdevs and iommufd',
    rules: [
      cdevNeverBound,
      bindRefused,
      cdevGroupConflict,
      attachFailed,
      kvmSetAfterBind,
      kvmDroppedWhileOpen,
      iommufdReleasedWhileBound,
    ],
  },
  {
    title: 'Operation',
    rules: [
      bindStall,
      vmDestroyStall,
      callStall,
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
