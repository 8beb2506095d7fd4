/**
 * Runs in the client's namespace: fetches a file on many connections at once and says how each ended.
 * Usage: download-main.ts URL CONNECTIONS BYTES RESULT-FILE LIMIT-MS. It says `ready` when every connection
 * has had its first bytes, writes its result when all have ended, and then waits for SIGTERM.
 */
import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { monotonicMs } from './processes.ts';

/** How one connection ended. */
export type Download = {
  readonly bytes: number;
  readonly isWhole: boolean;
  readonly endMs: number;
  readonly detail: string;
  /** Longest time without a byte. */
  readonly silentMs: number;
};

const [url = '', count = '', size = '', resultFile = '', limitText = ''] = process.argv.slice(2);
const connections = Number(count);
const downloads: Download[] = [];
let begun = 0;

function fetchOnce(): void {
  let bytes = 0;
  let last = monotonicMs();
  let silentMs = 0;
  let isSettled = false;
  const settle = (detail: string): void => {
    if (isSettled) return;
    isSettled = true;
    const endMs = monotonicMs();
    downloads.push({ bytes, isWhole: bytes === Number(size), endMs, detail, silentMs });
    if (downloads.length === connections) finish();
  };
  const request = get(url, { agent: false }, (response) => {
    response.on('data', (chunk: Buffer) => {
      if (bytes === 0) {
        begun += 1;
        if (begun === connections) process.stdout.write('ready\n');
      }
      bytes += chunk.length;
      silentMs = Math.max(silentMs, monotonicMs() - last);
      last = monotonicMs();
    });
    response.on('end', () => settle(`status ${response.statusCode}`));
    response.on('error', (cause) => settle(cause.message));
  });
  request.on('error', (cause) => settle(cause.message));
  setTimeout(() => {
    settle(`not done in ${limitText} ms`);
    request.destroy();
  }, Number(limitText));
}

let isFinished = false;
function finish(): void {
  isFinished = true;
  writeFileSync(resultFile, JSON.stringify(downloads));
  process.stdout.write('finished\n');
}

process.on('SIGTERM', () => {
  if (!isFinished) finish();
  process.exit(0);
});
for (let index = 0; index < connections; index += 1) fetchOnce();
