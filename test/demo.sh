#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo: the agent in a VM with a stock Debian kernel, real devices and real ordering violations.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"
exec node test/e2e/demo.ts "$@"
