import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  deriveTrait,
  deriveTraits,
  type Evidence,
  type KernelContents,
  TRAIT_NAMES,
  TRAITS,
  type TraitName,
  valuesOf,
} from './traits.ts';

/** A kernel with these symbols and fields, and nothing else; only of these is it known whether it has them. */
function kernelWith(...names: string[]): KernelContents {
  return {
    unknown: () => undefined,
    ways: [(_module, evidence) => isAmong(names, evidence)],
  };
}

function isAmong(names: readonly string[], evidence: Evidence): boolean {
  if (evidence.kind === 'noBtf' || !evidence.exists) return false;
  return names.includes(
    evidence.kind === 'field' ? `${evidence.struct}.${evidence.path}` : evidence.name,
  );
}

describe('a trait', () => {
  it('holds when something that shows it is there, whatever else is', () => {
    const kernel = kernelWith('vfio_device_get_kvm_safe', 'vfio_device_assign_container');
    const { value, statement, evidence } = deriveTrait('coreHoldsVm', kernel);
    assert.deepEqual(
      [value, statement, evidence],
      [
        true,
        'the core takes a reference on the VM of an open device',
        'vfio has the symbol vfio_device_get_kvm_safe',
      ],
    );
  });

  it('does not hold when only what refutes it is there, and says what is true instead', () => {
    const { value, statement } = deriveTrait('coreHoldsVm', kernelWith('vfio_add_group_dev'));
    assert.equal(value, false);
    assert.equal(statement, TRAITS.coreHoldsVm.otherwise);
  });

  it('is not known when there is neither, and names what was searched for', () => {
    const { value, statement, evidence } = deriveTrait('coreHoldsVm', kernelWith('vfio_df_open'));
    assert.equal(value, undefined);
    assert.equal(statement, TRAITS.coreHoldsVm.statement);
    assert.match(evidence, /vfio_device_get_kvm_safe; .*no field put_kvm$/);
  });

  it('is not known while its module is not loaded', () => {
    const kernel: KernelContents = {
      unknown: (module) => (module === 'vfio' ? 'the module vfio is not loaded' : undefined),
      ways: [() => true],
    };
    const derived = deriveTraits(kernel);
    for (const { name, value, evidence } of derived) {
      const isOfVfio = TRAITS[name].module === 'vfio';
      assert.equal(value, isOfVfio ? undefined : true, name);
      if (isOfVfio) assert.equal(evidence, 'the module vfio is not loaded');
    }
  });

  it('is shown by a field where its functions were renamed', () => {
    const value = (...names: string[]) => deriveTrait('coreHoldsVm', kernelWith(...names)).value;
    assert.equal(value('vfio_device.put_kvm'), true);
    assert.equal(value('vfio_device.kvm'), undefined);
  });
});

describe('the ways to find out', () => {
  const way = (...names: string[]) => kernelWith(...names).ways[0];

  it('are asked in turn, until one decides', () => {
    const value = (...ways: KernelContents['ways']) =>
      deriveTrait('coreHoldsVm', { unknown: () => undefined, ways }).value;
    const asked = () => assert.fail('it was decided before');
    assert.equal(value(way('vfio_device_get_kvm_safe'), asked), true);
    assert.equal(value(way('vfio_device_assign_container'), asked), false);
    assert.equal(value(way(), way('vfio_device_get_kvm_safe')), true);
  });

  it('are the reason where one of them is closed and the others do not decide', () => {
    const problem = 'cannot read /proc/kallsyms';
    const kernel = { unknown: () => undefined, ways: [way('vfio_df_open')], problem };
    assert.equal(deriveTrait('coreHoldsVm', kernel).evidence, problem);
    assert.equal(deriveTrait('opensAreOneFunction', kernel).value, true);
  });
});

describe('a backport', () => {
  it('of VFIO to an older kernel is taken for what it is', () => {
    const names = [
      ...['vfio_df_open', 'vfio_df_close', 'vfio_device_get_kvm_safe', '_vfio_alloc_device'],
      ...['vfio_file_set_kvm', 'mdev_register_device'],
    ];
    const traits = valuesOf(deriveTraits(kernelWith(...names)));
    const expected: Partial<Record<TraitName, boolean>> = {
      ...{ coreHoldsVm: true, driversAreNotified: false, vfioDeviceIsCounted: true },
      ...{ opensAreOneFunction: true, opensDuringRemoval: false, deviceFileKeepsGroup: true },
      ...{ mdevsHaveDriver: false, parentBelongsToDriver: false },
    };
    for (const [name, value] of Object.entries(expected)) {
      assert.equal(traits[name as TraitName], value, name);
    }
  });
});

describe('the table of traits', () => {
  it('says of each what shows it and what refutes it, and what is true of either kind of kernel', () => {
    for (const name of TRAIT_NAMES) {
      const { statement, otherwise, shownBy, refutedBy } = TRAITS[name];
      assert.ok(shownBy.length > 0 && refutedBy.length > 0, name);
      assert.notEqual(statement, otherwise);
      for (const text of [statement, otherwise]) assert.match(text, /^[a-z`BK].*[^.\s]$/, text);
    }
  });

  it('rests on no evidence for both', () => {
    for (const name of TRAIT_NAMES) {
      const shownBy = TRAITS[name].shownBy.map((one) => JSON.stringify(one));
      for (const one of TRAITS[name].refutedBy) assert.ok(!shownBy.includes(JSON.stringify(one)));
    }
  });
});
