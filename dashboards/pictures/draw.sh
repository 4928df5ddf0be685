#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up, then draws the pictures of docs/dashboards.md: see main.ts.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/../../test/setup.sh"
setup_packages dashboards/pictures/packages.txt
exec node dashboards/pictures/main.ts
