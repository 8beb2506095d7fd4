/** The composition root of `leasehold agent --uninstall-gate`: a machine that is no director any more. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createFileLedger } from './adapters/ledger/file-ledger.ts';
import { createSysctlLedger } from './adapters/ledger/sysctl-ledger.ts';
import { createIpvsKernel } from './adapters/linux/ipvs-kernel.ts';
import { createNetworkKernel } from './adapters/linux/network-kernel.ts';
import { uninstallMarks } from './adapters/linux/nft-marks.ts';
import { uninstallFences } from './adapters/linux/nft-fence-detect.ts';
import { createPlaceReader } from './adapters/machine/place.ts';
import { RUN_DIRECTORY } from './adapters/machine/run-lock.ts';
import { takeInstanceLock } from './adapters/machine/single-instance.ts';
import { describeLeftBehind, type LeftBehind } from './agent/left-behind.ts';
import { loadAgentConfig } from './config/agent-file.ts';
import { formatProblems } from './config/problem.ts';
import { err, ok, type Result } from './lib/result.ts';
import { ADDRESS_PROTOCOL } from './model/kernel.ts';
import type { Clock } from './ports/clock.ts';
import { silentLog } from './ports/log.ts';
import type { ChangedSysctl } from './ports/sysctls.ts';

export type UninstallProcess = {
  /** agent.yaml, for its `stateDir`; null: where it is by default. */
  readonly file: string | null;
  readonly clock: Clock;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
};

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_BAD_INPUT = 2;

/**
 * Removes the kernel rules that silence VIPs, and those that mark packets, on a director that is none any more;
 * tells what stays; answers the exit code.
 */
export async function runUninstallGate(options: UninstallProcess): Promise<number> {
  const { stdout, stderr } = options;
  const stateDir = await stateDirOf(options.file);
  if (!stateDir.ok) {
    stderr(stateDir.error);
    return EXIT_BAD_INPUT;
  }
  // Under a running agent its VIPs would be without rules until it has made them anew.
  const lock = await takeInstanceLock();
  if (!lock.ok) {
    stderr(`${lock.error}\n`);
    return EXIT_BAD_INPUT;
  }
  if (lock.value.warning !== null) stderr(`warning: ${lock.value.warning}\n`);
  try {
    const removed = await uninstall(options);
    if (!removed.ok) {
      stderr(`${removed.error}\n`);
      return EXIT_FAILED;
    }
    for (const line of describeLeftBehind(await lookForRest(options.clock, stateDir.value)))
      stdout(`${line}\n`);
    return EXIT_OK;
  } finally {
    lock.value.release();
  }
}

async function stateDirOf(file: string | null): Promise<Result<string, string>> {
  if (file === null) return ok(RUN_DIRECTORY);
  const loaded = await loadAgentConfig(file);
  return loaded.ok ? ok(loaded.value.stateDir) : err(`${file}:\n${formatProblems(loaded.error)}\n`);
}

async function uninstall({ clock, stdout }: UninstallProcess): Promise<Result<void, string>> {
  // A crashed or frozen agent may have left VIPs: without their rules nothing would silence them.
  const unbound = await unbindOwn(clock);
  if (!unbound.ok)
    return err(`the gate stays: the VIPs of an earlier agent cannot be removed: ${unbound.error}`);
  if (unbound.value > 0) stdout(`addresses of an earlier agent removed: ${unbound.value}\n`);
  const removed = await uninstallFences({ clock, log: silentLog });
  if (!removed.ok) return err(`the gate cannot be removed: ${removed.error.message}`);
  const kinds = removed.value.join(', ');
  stdout(kinds === '' ? 'no gate was installed here\n' : `the gate was removed: ${kinds}\n`);
  const unmarked = await uninstallMarks({ clock, log: silentLog });
  if (!unmarked.ok) return err(`the firewall marks cannot be removed: ${unmarked.error.message}`);
  if (unmarked.value) stdout('the table of firewall marks was removed\n');
  return ok(undefined);
}

/** Removes every address that is tagged as leasehold's; how many. */
async function unbindOwn(clock: Clock): Promise<Result<number, string>> {
  const kernel = createNetworkKernel({ clock, log: silentLog });
  try {
    const bound = await kernel.addresses();
    if (!bound.ok) return err(bound.error.message);
    const own = bound.value.filter(({ protocol }) => protocol === ADDRESS_PROTOCOL);
    for (const result of await kernel.unbind(own)) if (!result.ok) return err(result.error.message);
    return ok(own.length);
  } finally {
    kernel.close();
  }
}

/** There as long as ip_vs is: to ask the kernel for its netlink family could load it. */
const IPVS_FILE = '/proc/net/ip_vs';

async function lookForRest(clock: Clock, stateDir: string): Promise<LeftBehind> {
  const ledgers = await readLedgers(stateDir);
  if (!existsSync(IPVS_FILE)) return { table: null, daemons: null, ...ledgers };
  const kernel = createIpvsKernel({ clock, log: silentLog });
  try {
    const table = await kernel.dump();
    const daemons = await kernel.daemons();
    return {
      table: table.ok ? table.value : null,
      daemons: daemons.ok ? daemons.value : null,
      ...ledgers,
    };
  } finally {
    kernel.close();
  }
}

/** Of every cluster that this machine was a director of. */
async function readLedgers(stateDir: string): Promise<Pick<LeftBehind, 'owned' | 'changed'>> {
  const place = createPlaceReader();
  const files = existsSync(stateDir) ? readdirSync(stateDir) : [];
  const owned = new Set<string>();
  const changed = new Map<string, ChangedSysctl>();
  for (const file of files.filter((name) => name.endsWith('.ipvs.json'))) {
    // oxlint-disable-next-line no-await-in-loop -- one or two files
    const loaded = await createFileLedger(join(stateDir, file), place).load();
    if (loaded.ok) for (const key of loaded.value) owned.add(key);
  }
  for (const file of files.filter((name) => name.endsWith('.sysctls.json'))) {
    // oxlint-disable-next-line no-await-in-loop -- one or two files
    const loaded = await createSysctlLedger(join(stateDir, file), place).load();
    if (loaded.ok) for (const [name, change] of loaded.value) changed.set(name, change);
  }
  return { owned, changed };
}
