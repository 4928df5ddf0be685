#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generates all generated files; with --check it only reports those that are out of date.
set -euo pipefail
cd "$(dirname "$0")/.."

for generator in \
  test/generate/wire.ts \
  test/generate/automata.ts \
  test/generate/metrics.ts \
  test/generate/traces.ts \
  test/generate/errors.ts \
  dashboards/generate.ts \
  dashboards/alerts/generate.ts \
  dashboards/joins/generate.ts \
  test/generate/kernel-support.ts \
  test/generate/other-kernels.ts \
  test/generate/rules.ts \
  test/generate/soak.ts; do
  node "$generator" "$@"
done
