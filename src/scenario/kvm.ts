/** Steps that few scenarios need: of VMs. */
import type { Scenario } from './scenario.ts';
import type { ScenarioVm } from './types.ts';

/** The last reference on a VM is put, and its teardown begins. */
export function destroyVmBegins(scenario: Scenario, vm: ScenarioVm): void {
  const fields = { kvm: vm.key, vmPid: vm.task.pid };
  scenario.event('kvm.put:begin', vm.task, { ...fields, usersCount: 1 });
  scenario.event('kvm.vm.destroy:begin', vm.task, { ...fields, usersCount: 0 });
  vm.users = 0;
}

export function destroyVmEnds(scenario: Scenario, vm: ScenarioVm): void {
  scenario.event('kvm.vm.destroy:end', vm.task, { kvm: vm.key });
}
