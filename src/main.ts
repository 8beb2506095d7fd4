/** The program: the command line, and behind `leasehold agent` the whole agent, loaded only then. */
import { readFileSync } from 'node:fs';
import { createSystemClock } from './adapters/clock/system-clock.ts';
import { createSystemRandom } from './adapters/clock/system-random.ts';
import { tuneEngine } from './adapters/machine/engine.ts';
import { createCli } from './cli/cli.ts';
import { createProcessIo } from './cli/process-io.ts';
import { deriveWholeTable } from './core/desired/whole-table.ts';
import type { Result } from './lib/result.ts';
import type { RealServerAnswer, RealServerRequest } from './model/real-server-host.ts';

const version = readVersion();
const clock = createSystemClock();
const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.on(signal, () => stopping.abort());
// Node would open its debugger, with the rights of this process, to every user of the machine.
process.on('SIGUSR1', () => {});
// Whatever agent.yaml says: leave everything to a new process.
process.on('SIGUSR2', () => stopping.abort('freeze'));

const io = createProcessIo({ clock, version, signal: stopping.signal });
const cli = createCli({
  runAgent: startAgent,
  uninstallGate,
  realServer,
  deriveTable: deriveWholeTable,
  io,
});
process.exitCode = await cli.run(process.argv.slice(2));

async function startAgent(options: { config: string; dev: boolean }): Promise<number> {
  tuneEngine();
  // A command of the CLI needs none of the adapters: they cost it half of its time.
  const { runAgent } = await import('./agent-process.ts');
  return runAgent({
    file: options.config,
    isDev: options.dev,
    version,
    signal: stopping.signal,
    clock,
    random: createSystemRandom(),
    stdout: io.stdout,
    stderr: io.stderr,
  });
}

async function uninstallGate(file: string | null): Promise<number> {
  const { runUninstallGate } = await import('./uninstall-process.ts');
  return runUninstallGate({ file, clock, stdout: io.stdout, stderr: io.stderr });
}

async function realServer(request: RealServerRequest): Promise<Result<RealServerAnswer, string>> {
  const { runRealServerCommand } = await import('./real-server-process.ts');
  return runRealServerCommand(request, clock);
}

function readVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { version: found } = JSON.parse(text) as { version: string };
  return found;
}
