#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares vfioscope with its peers, see test/bench/main.ts. Needs root, for BPF.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"
exec node test/bench/main.ts "$@"
