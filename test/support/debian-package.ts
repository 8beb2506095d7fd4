/** Debian packages that only some tests and the bench need: installed when the first of them asks. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { run, sleep } from './processes.ts';

/** Version of the installed package without Debian's parts; installs it, without its service, where it is missing. */
export async function ensurePackage(name: string, say: (text: string) => void): Promise<string> {
  if ((await installedVersion(name)) === null) {
    say(`${name} is missing: installing the Debian package, its service stays off`);
    await install(name);
  }
  const version = await installedVersion(name);
  if (version === null) throw new Error(`${name} is not there after its installation`);
  return version;
}

async function installedVersion(name: string): Promise<string | null> {
  const query = ['dpkg-query', '-W', '-f', '${db:Status-Status} ${Version}', name];
  const [status, version] = (await run(query)).stdout.split(' ');
  if (status !== 'installed' || version === undefined) return null;
  return /^(?:\d+:)?(\d[\d.]*)/.exec(version)?.[1] ?? version;
}

const POLICY = '/usr/sbin/policy-rc.d';

async function install(name: string): Promise<void> {
  // A policy that forbids services to start (invoke-rc.d(8)), unless the machine has its own.
  const isOurs = !existsSync(POLICY);
  if (isOurs) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    await fetchPackage(name);
  } finally {
    if (isOurs) rmSync(POLICY, { force: true });
  }
  // Where it has a service that would start with the machine.
  await run(['systemctl', 'disable', '--quiet', SERVICES.get(name) ?? name]);
}

/** Asks again: a download may break, and another process may be at work on packages. */
async function fetchPackage(name: string): Promise<void> {
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
  const options = ['-y', '-qq', '-o', 'DPkg::Lock::Timeout=100', '--no-install-recommends'];
  for (let tries = 1; ; tries += 1) {
    // The lists of packages that are there may do.
    await run([...apt, 'update', '-qq'], { timeoutMs: 120_000 });
    // Long: who ends it in the middle leaves packages half installed.
    const install = [...apt, 'install', ...options, '--no-remove', name];
    const done = await run(install, { timeoutMs: 600_000 });
    if (done.code === 0) return;
    if (tries === 3) throw new Error(`apt-get install ${name}: code ${done.code}: ${done.stderr}`);
    await sleep(5000);
  }
}

/** Of packages whose service has another name. */
const SERVICES = new Map([['exim4-daemon-light', 'exim4']]);
