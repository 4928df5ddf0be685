/** The traits that scenarios are played with are those that the agent derived on the kernels of the lab. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { traitsOf as allTraits } from '../../src/events/traits.ts';
import { readSupport } from '../e2e/support.ts';
import { traitsOf } from '../e2e/traits.ts';
import { chooseKernel, readMatrix, wholeKernels } from '../lab/kernels.ts';

const matrix = readMatrix();
for (const kernel of wholeKernels(matrix)) {
  const isAlwaysWith = kernel === '5.10' || chooseKernel(matrix, kernel).hasIommufd;
  for (const moduleBtf of isAlwaysWith ? [true] : [true, false]) {
    it(`${kernel}${moduleBtf ? '' : ' without BTF of modules'} has the traits of src/scenario/kernels.ts`, () => {
      const derived = new Map(
        readSupport(kernel, moduleBtf).traits.map(({ name, value }) => [name, value]),
      );
      assert.deepEqual(
        allTraits((name) => derived.get(name)),
        traitsOf(kernel, moduleBtf),
      );
    });
  }
}
