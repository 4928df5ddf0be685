#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes all that is generated; with --check it only says what is not as it would be made.
set -euo pipefail
cd "$(dirname "$0")/.."

for generator in \
  src/events/generate-wire.ts \
  src/lifecycle/generate-automata.ts \
  src/telemetry/generate-metrics.ts \
  agent/generate-traces.ts \
  dashboards/generate.ts \
  dashboards/alerts/generate.ts \
  test/e2e/support-doc.ts \
  test/e2e/rules-doc.ts \
  test/e2e/calm-doc.ts; do
  node "$generator" "$@"
done
