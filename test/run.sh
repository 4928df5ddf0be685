#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that has to hold: formatting, types, unit tests, then real kernels in the lab.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"

step() { printf '\n== %s\n' "$*"; }

step 'format and lint'
npx --no-install biome ci --log-level=error
step 'types'
npx --no-install tsc
step 'generated files'
node src/events/generate-wire.ts --check
step 'unit tests and the lab, on this machine'
# The lab boots a VM for some of its tests; two at a time are enough for two cores.
node --test --test-concurrency=2 'src/**/*.test.ts' 'agent/**/*.test.ts' 'test/**/*.test.ts'
step 'the container image'
bash test/image.sh
