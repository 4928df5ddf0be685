// SPDX-License-Identifier: Apache-2.0
/**
 * Builds the OpenTelemetry Collector from Debian's sources of it. Debian has it only as a library,
 * and only in releases later than most, so these are unpacked into the cache, not installed.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Apt, unpackPackage } from '../lab/apt.ts';
import { cacheDirectory, cached } from '../lab/cache.ts';
import { command } from '../lab/command.ts';

const SUITE = 'forky';
const PACKAGES = ['golang-go', 'golang-opentelemetry-collector-dev'];
const SOURCES = ['main.go', 'prometheus.go'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);

/** @returns the program; minutes the first time, and 1 GB meanwhile */
export async function buildCollector(): Promise<string> {
  const hash = createHash('sha256').update(SUITE);
  for (const source of SOURCES) hash.update(await readFile(source));
  const version = hash.digest('hex').slice(0, 12);
  const program = path.join(cacheDirectory(), 'collector', version);
  const { target } = await cached(program, build);
  return target;
}

async function build(scratch: string): Promise<string> {
  const root = path.join(scratch, 'root');
  await mkdir(root);
  const apt = await Apt.open([SUITE]);
  const all = await apt.withDependencies(PACKAGES);
  // Only the compiler and sources in Go; the other dependencies are for development by hand.
  const names = all.filter((name) => /^golang-(?!.*-tools$)/.test(name));
  await apt.download(names, scratch);
  for (const name of names) await unpackPackage(name, scratch, root);
  const compilers = (await readdir(path.join(root, 'usr/lib'))).filter((name) =>
    /^go-\d/.test(name),
  );
  const goRoot = path.join(root, 'usr/lib', compilers[0]);
  const program = path.join(scratch, 'collector');
  // programs: env
  await command('env', [
    ...[`GOROOT=${goRoot}`, `GOPATH=${root}/usr/share/gocode`, `GOCACHE=${scratch}/go-cache`],
    ...['GO111MODULE=off', 'CGO_ENABLED=0', 'GOTOOLCHAIN=local', 'GOTELEMETRY=off'],
    ...[`${goRoot}/bin/go`, 'build', '-trimpath', '-ldflags', '-s -w', '-o', program, ...SOURCES],
  ]);
  return program;
}
