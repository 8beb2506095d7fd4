/** The command line's view of its process; read once, at the start. */
import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import { loadCliEnvironment } from '../config/cli-env.ts';
import { messageOf } from '../lib/result.ts';
import { type CliIo, EXIT } from './context.ts';

export function createProcessIo(options: {
  readonly clock: CliIo['clock'];
  readonly version: string;
  /** Aborts at SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}): CliIo {
  const { stdin, stdout, stderr } = process;
  const readerGone = new AbortController();
  // `leasehold events -f | head` closes the pipe: that ends the command, it is no error.
  stdout.on('error', (error) => {
    if (!isBrokenPipe(error)) {
      stderr.write(`cannot write: ${messageOf(error)}\n`);
      // Whatever the command says itself: a file with half of the document is no success.
      process.once('exit', () => {
        process.exitCode = EXIT.badInput;
      });
    }
    readerGone.abort();
  });
  // Nobody to tell it to: the exit code still counts.
  stderr.on('error', () => {});
  const canAsk = Boolean(stdin.isTTY) && Boolean(stdout.isTTY);
  return {
    ...options,
    signal: AbortSignal.any([options.signal, readerGone.signal]),
    stdout: (part) => {
      if (!readerGone.signal.aborted) stdout.write(part);
    },
    written: () => (stdout.writableNeedDrain ? untilDrained(readerGone.signal) : NOTHING_TO_WAIT),
    stderr: (part) => void stderr.write(part),
    readStdin: () => text(stdin),
    ask: canAsk ? (question) => askOn(question) : null,
    isTerminal: Boolean(stdout.isTTY),
    // Asked each time: a window changes its size while `status -w` runs.
    get columns() {
      return columnsOf(stdout);
    },
    environment: loadCliEnvironment(),
  };
}

/** Null also for a terminal that does not know its width: a serial console says 0. */
export const columnsOf = ({
  isTTY,
  columns,
}: Pick<NodeJS.WriteStream, 'isTTY' | 'columns'>): number | null =>
  isTTY && columns > 0 ? columns : null;

const NOTHING_TO_WAIT = Promise.resolve();

/** Or until the reader is gone. */
const untilDrained = (gone: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      process.stdout.off('drain', done);
      gone.removeEventListener('abort', done);
      resolve();
    };
    process.stdout.on('drain', done);
    gone.addEventListener('abort', done);
  });

const isBrokenPipe = (error: Error): boolean => 'code' in error && error.code === 'EPIPE';

/** Ctrl-C and Ctrl-D, which the terminal gives to the question, and its end count as an empty answer. */
export async function askOn(
  question: string,
  {
    stdin,
    stdout,
  }: {
    readonly stdin: NodeJS.ReadableStream;
    readonly stdout: NodeJS.WritableStream;
  } = process,
): Promise<string> {
  const lines = createInterface({ input: stdin, output: stdout });
  const controller = new AbortController();
  lines.on('SIGINT', () => controller.abort());
  lines.on('close', () => controller.abort());
  try {
    return await lines.question(question, { signal: controller.signal });
  } catch (error) {
    if (controller.signal.aborted) return '';
    throw error;
  } finally {
    lines.close();
  }
}
