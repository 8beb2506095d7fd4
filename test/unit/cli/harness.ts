/** The command line against a real API on loopback, on fakes; output and exit code are caught. */
import { createCli } from '../../../src/cli/cli.ts';
import type { CliDeps, CliIo } from '../../../src/cli/context.ts';
import { deriveWholeTable } from '../../../src/core/desired/whole-table.ts';
import { err } from '../../../src/lib/result.ts';
import { type Bench, createBench } from '../api/bench.ts';

export type Screen = { readonly code: number; readonly out: string; readonly err: string };

export const NO_ENVIRONMENT: CliIo['environment'] = {
  api: null,
  token: null,
  tokenFile: null,
  caCert: null,
  noColor: false,
};

/** Virtual time: a sleep is over at once and moves the clock; `onSleep` sees it. */
export function createIo(fields: Partial<CliIo> & { onSleep?: () => void } = {}): {
  io: CliIo;
  screen: { out: string; err: string };
} {
  const screen = { out: '', err: '' };
  let now = 0;
  const { onSleep, ...rest } = fields;
  const io: CliIo = {
    stdout: (text) => {
      screen.out += text;
    },
    written: async () => {},
    stderr: (text) => {
      screen.err += text;
    },
    readStdin: async () => '',
    ask: null,
    isTerminal: false,
    columns: null,
    environment: NO_ENVIRONMENT,
    version: '0.1.0',
    clock: {
      now: () => now,
      sleep: async (ms) => {
        now += ms;
        onSleep?.();
      },
    },
    signal: new AbortController().signal,
    ...rest,
  };
  return { io, screen };
}

/** Runs a command without any director. */
export async function runCli(
  argv: readonly string[],
  fields: Parameters<typeof createIo>[0] = {},
  runAgent: CliDeps['runAgent'] = async () => 0,
  uninstallGate: CliDeps['uninstallGate'] = async () => 0,
  realServer: CliDeps['realServer'] = async () => err('no machine to prepare'),
): Promise<Screen> {
  const { io, screen } = createIo(fields);
  const code = await createCli({
    runAgent,
    uninstallGate,
    realServer,
    deriveTable: deriveWholeTable,
    io,
  }).run(argv);
  return { code, ...screen };
}

export type Rig = Bench & {
  readonly url: string;
  /** Runs a command with `--api` of this rig. */
  readonly run: (argv: string, fields?: Parameters<typeof createIo>[0]) => Promise<Screen>;
};

/** To be closed by the caller: `rig.api.close()`. */
export async function startRig(options: Parameters<typeof createBench>[0] = {}): Promise<Rig> {
  const bench = createBench(options);
  const bound = await bench.api.start();
  if (!bound.ok) throw new Error(bound.error);
  const scheme = (options?.tls ?? null) === null ? 'http' : 'https';
  const url = `${scheme}://127.0.0.1:${bound.value.port}`;
  return {
    ...bench,
    url,
    run: (argv, fields) => runCli([...splitWords(argv), '--api', url], fields),
  };
}

/** Words at blanks; 'quoted words' stay together. */
const splitWords = (text: string): string[] =>
  (text.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ''));
