/** The command line's view of its process; read once, at the start. */
import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import { loadCliEnvironment } from '../config/cli-env.ts';
import type { CliIo } from './context.ts';

export function createProcessIo(options: {
  readonly clock: CliIo['clock'];
  readonly version: string;
  readonly signal: AbortSignal;
}): CliIo {
  const { stdin, stdout, stderr } = process;
  const canAsk = Boolean(stdin.isTTY) && Boolean(stdout.isTTY);
  return {
    ...options,
    stdout: (part) => void stdout.write(part),
    stderr: (part) => void stderr.write(part),
    readStdin: () => text(stdin),
    ask: canAsk ? askOn : null,
    isTerminal: Boolean(stdout.isTTY),
    columns: stdout.isTTY ? stdout.columns : null,
    environment: loadCliEnvironment(),
  };
}

async function askOn(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}
