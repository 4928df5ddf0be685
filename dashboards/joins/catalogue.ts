/** All joins, by exporter. */
import { type Join, own } from './join.ts';

const GUEST = '11111111-2222-4333-8444-555555555555';
const MDEV = '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a01';
const SECOND = '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a02';
const POD = '1b4c5d6e-0000-4000-8000-123456789abc';
const ID = 'c0ffee'.padEnd(64, '0');
const GPU = '00000000:3B:00.0';

/** The same VM number on two hosts, as they have it. */
const WEB = [
  own('vfioscope_vm_info', { vm: 'vm27', pid: '392', vm_name: 'web-3', vm_uuid: GUEST }),
  own('vfioscope_vm_info', { node: 'host2', vm: 'vm27', pid: '9', vm_name: 'db-1' }),
];
const KUBEVIRT = own('vfioscope_vm_info', {
  ...{ vm: 'vm27', pid: '392', vm_name: 'default_web-3', vm_uuid: GUEST },
  ...{ container_id: ID, pod_uid: POD },
});

export const JOINS: readonly Join[] = [
  {
    exporter: 'libvirt exporter',
    question: 'How much CPU time does the domain use that each device is assigned to?',
    because: '`vm_name` is the name of the domain.',
    expr: `rate(libvirt_domain_info_cpu_time_seconds_total[5m])
  * on (node, domain) group_right ()
    label_replace(
      vfioscope_device_vm_info * on (node, vm) group_left (vm_name) vfioscope_vm_info,
      "domain", "$1", "vm_name", "(.+)")`,
    series: [
      ...WEB,
      own('vfioscope_device_vm_info', { device: MDEV, vm: 'vm27' }),
      own('vfioscope_device_vm_info', { device: SECOND, vm: 'vm27' }),
      'libvirt_domain_info_cpu_time_seconds_total{domain="web-3",node="host1"} 0+30x10',
      'libvirt_domain_info_cpu_time_seconds_total{domain="db-1",node="host1"} 0+60x10',
    ],
    yields: [MDEV, SECOND].map((device) => ({
      labels: `{device="${device}",domain="web-3",node="host1",vm="vm27",vm_name="web-3"}`,
      value: 0.5,
    })),
  },
  {
    exporter: 'libvirt exporter',
    question: 'Which project of OpenStack has the VMs with ongoing violations?',
    because: 'Nova names domains `instance-…`; the exporter knows the name that the user chose.',
    expr: `vfioscope_violation_info
  * on (node, vm) group_left (domain)
    label_replace(vfioscope_vm_info, "domain", "$1", "vm_name", "(.+)")
  * on (node, domain) group_left (instance_name, project_name)
    libvirt_domain_openstack_info`,
    series: [
      own('vfioscope_vm_info', { vm: 'vm27', pid: '392', vm_name: 'instance-0000001a' }),
      own('vfioscope_violation_info', {
        ...{ violation_id: 'v1-0', rule: 'remove-stall', severity: 'warning' },
        ...{ device: MDEV, vm: 'vm27', parent: 'gpu0' },
      }),
      'libvirt_domain_openstack_info{domain="instance-0000001a",instance_name="web-3",project_name="shop",node="host1"} 1x10',
    ],
    yields: [
      {
        labels:
          `{violation_id="v1-0",rule="remove-stall",severity="warning",device="${MDEV}",vm="vm27",parent="gpu0",` +
          'node="host1",domain="instance-0000001a",instance_name="web-3",project_name="shop"}',
        value: 1,
      },
    ],
  },
  {
    exporter: 'KubeVirt',
    question: 'How many devices has each virtual machine instance, and in which phase is it?',
    because:
      'KubeVirt names domains `NAMESPACE_NAME`, and a namespace has no `_`. `kubevirt_vmi_info` has a label ' +
      '`node` of its own: keep it (`honorLabels: true`).',
    expr: `vfioscope_vm_devices
  * on (node, vm) group_left (namespace, name)
    label_replace(
      label_replace(vfioscope_vm_info, "namespace", "$1", "vm_name", "([^_]+)_.+"),
      "name", "$1", "vm_name", "[^_]+_(.+)")
  * on (node, namespace, name) group_left (phase)
    kubevirt_vmi_info`,
    series: [
      KUBEVIRT,
      own('vfioscope_vm_devices', { vm: 'vm27' }),
      own('vfioscope_vm_devices', { vm: 'vm28' }),
      'kubevirt_vmi_info{node="host1",namespace="default",name="web-3",phase="running"} 1x10',
      'kubevirt_vmi_info{node="host2",namespace="default",name="db-1",phase="running"} 1x10',
    ],
    yields: [
      {
        labels: '{node="host1",vm="vm27",namespace="default",name="web-3",phase="running"}',
        value: 1,
      },
    ],
  },
  {
    exporter: 'kube-state-metrics',
    question: 'Which pod has each VM?',
    because: '`pod_uid` is the UID of the pod.',
    expr: `vfioscope_vm_info{pod_uid!=""}
  * on (pod_uid) group_left (namespace, pod)
    label_replace(kube_pod_info, "pod_uid", "$1", "uid", "(.+)")`,
    series: [
      KUBEVIRT,
      own('vfioscope_vm_info', { vm: 'vm28', pid: '400' }),
      `kube_pod_info{namespace="default",pod="virt-launcher-web-3-x7k2p",uid="${POD}"} 1x10`,
    ],
    yields: [
      {
        labels:
          `{vm="vm27",pid="392",vm_name="default_web-3",vm_uuid="${GUEST}",container_id="${ID}",pod_uid="${POD}",` +
          'node="host1",namespace="default",pod="virt-launcher-web-3-x7k2p"}',
        value: 1,
      },
    ],
  },
  {
    exporter: 'cAdvisor',
    question: 'How much memory does the container of each VM use?',
    because:
      '`name` of cAdvisor is the id of the container. Without `container_id!=""` all VMs outside of containers ' +
      'would have the same key.',
    expr: `label_replace(
  container_memory_working_set_bytes, "container_id", "$1", "name", "([0-9a-f]{64})")
  * on (node, container_id) group_left (vm, vm_name)
    vfioscope_vm_info{container_id!=""}`,
    series: [
      KUBEVIRT,
      own('vfioscope_vm_info', { vm: 'vm28', pid: '400' }),
      own('vfioscope_vm_info', { vm: 'vm29', pid: '401' }),
      `container_memory_working_set_bytes{node="host1",namespace="default",pod="virt-launcher-web-3-x7k2p",container="compute",name="${ID}"} 5e9x10`,
      'container_memory_working_set_bytes{node="host1",id="/system.slice"} 1e9x10',
    ],
    yields: [
      {
        labels:
          '{node="host1",namespace="default",pod="virt-launcher-web-3-x7k2p",container="compute",' +
          `name="${ID}",container_id="${ID}",vm="vm27",vm_name="default_web-3"}`,
        value: 5e9,
      },
    ],
  },
  {
    exporter: 'node_exporter',
    question: 'How full is the memory of the hosts on which removals wait?',
    because: 'Both are of the same host.',
    expr: `vfioscope_violation_info{rule="remove-stall"}
  * on (node) group_left ()
    (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)`,
    series: [
      own('vfioscope_violation_info', {
        ...{ violation_id: 'v1-0', rule: 'remove-stall', severity: 'warning', device: MDEV },
      }),
      'node_memory_MemAvailable_bytes{node="host1"} 16e9x10',
      'node_memory_MemTotal_bytes{node="host1"} 64e9x10',
    ],
    yields: [
      {
        labels: `{violation_id="v1-0",rule="remove-stall",severity="warning",device="${MDEV}",node="host1"}`,
        value: 0.75,
      },
    ],
  },
  {
    exporter: 'node_exporter',
    question: 'How wide is the PCIe link of each device that is assigned as a whole?',
    because:
      'The collector `pcidevice` (not enabled by default) has the parts of the address in four labels.',
    expr: `label_replace(vfioscope_device_info{vendor_id!="", parent=""}, "address", "$1", "device", "(.+)")
  * on (node, address) group_left ()
    label_join(
      label_join(node_pcidevice_current_link_width, "slot", ":", "segment", "bus", "device"),
      "address", ".", "slot", "function")`,
    series: [
      own('vfioscope_device_info', {
        ...{ device: '0000:3b:00.0', driver: 'vfio-pci', iommu_group: '7' },
        ...{ vendor_id: '0x10de', device_id: '0x2236', numa_node: '1', pci_bus_id: GPU },
      }),
      'node_pcidevice_current_link_width{segment="0000",bus="3b",device="00",function="0",node="host1"} 16x10',
      'node_pcidevice_current_link_width{segment="0000",bus="3c",device="00",function="0",node="host1"} 4x10',
    ],
    yields: [
      {
        labels:
          '{device="0000:3b:00.0",driver="vfio-pci",iommu_group="7",vendor_id="0x10de",device_id="0x2236",' +
          `numa_node="1",pci_bus_id="${GPU}",address="0000:3b:00.0",node="host1"}`,
        value: 16,
      },
    ],
  },
  {
    exporter: 'dcgm-exporter',
    question: 'How hot is the GPU that each vGPU is a part of, and which is it?',
    because:
      '`pci_bus_id` is written as NVIDIA writes it, and is that of the physical function for a virtual one. ' +
      'dcgm-exporter does not see a GPU that is assigned as a whole. `max by` is for GPUs with several instances (MIG).',
    expr: `vfioscope_device_info{pci_bus_id!=""}
  * on (node, pci_bus_id) group_left (UUID, modelName)
    max by (node, pci_bus_id, UUID, modelName) (DCGM_FI_DEV_GPU_TEMP)`,
    series: [
      ...[MDEV, SECOND].map((device) =>
        own('vfioscope_device_info', {
          ...{ device, parent: '0000:3b:00.4', mdev_type: 'nvidia-558', driver: 'nvidia' },
          ...{ physical_function: '0000:3b:00.0', vendor_id: '0x10de', pci_bus_id: GPU },
        }),
      ),
      own('vfioscope_device_info', {
        device: '8d4a4f5e-0c1b-4a53-9b5b-6f0c6a6e7a03',
        parent: 'mtty',
      }),
      `DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-893e8405",pci_bus_id="${GPU}",device="nvidia0",modelName="NVIDIA A40",node="host1"} 61x10`,
      'DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-12345678",pci_bus_id="00000000:AF:00.0",device="nvidia1",modelName="NVIDIA A40",node="host1"} 40x10',
    ],
    yields: [MDEV, SECOND].map((device) => ({
      labels:
        `{device="${device}",parent="0000:3b:00.4",mdev_type="nvidia-558",driver="nvidia",` +
        `physical_function="0000:3b:00.0",vendor_id="0x10de",pci_bus_id="${GPU}",node="host1",` +
        'UUID="GPU-893e8405",modelName="NVIDIA A40"}',
      value: 61,
    })),
  },
];
