/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the VMM that open devices by their cdevs and iommufd. */

#ifndef LAB_CDEV_H
#define LAB_CDEV_H

int vmm_iommufd_open(char **arg);
int vmm_iommufd_ioas(char **arg);
int vmm_iommufd_map(char **arg);
int vmm_cdev_open(char **arg);
int vmm_cdev_bind(char **arg);
int vmm_cdev_attach(char **arg);
int vmm_cdev_detach(char **arg);

#endif
