/**
 * Runs in the client's namespace: starts one HTTP request per period on a new connection, whether
 * the last one was answered or not, and records how each ended. Open loop: a dead service does not
 * slow the questions down.
 * Usage: http-probe-main.ts URL PERIOD-MS TIMEOUT-MS RESULT-FILE LIMIT-MS; ends at SIGTERM.
 */
import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { monotonicMs } from './processes.ts';
import type { RequestRecord } from './client-probe.ts';

const [url = '', periodText = '', timeoutText = '', resultFile = '', limitText = ''] =
  process.argv.slice(2);
const records: RequestRecord[] = [];
const start = monotonicMs();
let sent = 0;
let open = 0;

function ask(): void {
  const startMs = monotonicMs();
  let isSettled = false;
  open += 1;
  const settle = (result: string | null, detail: string): void => {
    if (isSettled) return;
    isSettled = true;
    open -= 1;
    clearTimeout(deadline);
    records.push({ startMs, endMs: monotonicMs(), answer: result, detail });
  };
  const request = get(url, { agent: false }, (response) => {
    let body = '';
    response.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    response.on('end', () =>
      response.statusCode === 200
        ? settle(body.trim(), '200')
        : settle(null, `status ${response.statusCode}`),
    );
  });
  const deadline = setTimeout(() => {
    settle(null, 'timeout');
    request.destroy();
  }, Number(timeoutText));
  request.on('error', (cause) => settle(null, cause.message));
}

const timer = setInterval(() => {
  for (let count = 0; count < 5 && start + sent * Number(periodText) <= monotonicMs(); count += 1) {
    sent += 1;
    if (open < 200) ask();
  }
  if (monotonicMs() - start > Number(limitText)) finish();
}, 2);

/** When all have ended, or had the time to. */
function finish(): void {
  clearInterval(timer);
  const endMs = monotonicMs() + Math.min(Number(timeoutText), 3000) + 20;
  const look = setInterval(() => {
    if (open > 0 && monotonicMs() < endMs) return;
    clearInterval(look);
    records.sort((a, b) => a.startMs - b.startMs);
    writeFileSync(resultFile, JSON.stringify(records));
    process.exit(0);
  }, 5);
}

process.on('SIGTERM', finish);
process.stdout.write('ready\n');
