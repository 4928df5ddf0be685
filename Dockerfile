# SPDX-License-Identifier: Apache-2.0
# The container image, see docs/container.md. Built and run by test/image.sh.

# Any Debian with Node and npm in /usr/local; its Node is the one that the image gets.
ARG BUILD_BASE=node:24.21.0-bookworm-slim
# Any Debian of the same release.
ARG RUN_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends clang libbpf-dev linux-libc-dev llvm make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build
# npm pack: package.json says in one place what belongs to vfioscope. The agent is
# bundled but for koffi, a native addon whose binary is in a package per platform.
WORKDIR /image/usr/lib/vfioscope
RUN npm pack --ignore-scripts --pack-destination /tmp /src \
    && tar -xzf /tmp/vfioscope-*.tgz --strip-components=1 --no-same-owner \
    && mkdir -p node_modules ../../local/bin \
    && cp -r /src/node_modules/koffi /src/node_modules/@koromix node_modules/ \
    && ln -s /usr/lib/vfioscope/dist/agent/main.js ../../local/bin/vfioscope

FROM ${RUN_BASE}
# libstdc++6 is for Node.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libbpf1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /image/ /

# No USER: attaching probes takes capabilities, which a container gives to root only.
EXPOSE 10055
HEALTHCHECK --start-period=10s \
    CMD ["node", "-e", "fetch('http://127.0.0.1:10055/-/healthy').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["vfioscope"]
CMD ["run"]

# Last, because they differ in every build.
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="vfioscope" \
      org.opencontainers.image.description="eBPF agent that tracks the lifecycle of devices assigned to VMs (mdev, VFIO, KVM)" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
