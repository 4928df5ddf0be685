#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up, then runs a TypeScript program with its arguments.
set -euo pipefail
# shellcheck source=test/setup.sh
. "$(dirname "$0")/setup.sh"
exec node "$@"
