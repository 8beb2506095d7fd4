// The part of an agent that checks, by itself: prober and probe loop of dist/, and a loop that wakes as the hold loop
// does and sees how late. Argument: a file with what to check, as JSON. Prints its figures at SIGTERM.
import { readFileSync } from 'node:fs';
import { createSystemClock } from '../dist/adapters/clock/system-clock.js';
import { createSystemRandom } from '../dist/adapters/clock/system-random.js';
import { createProber } from '../dist/adapters/probes/create-prober.js';
import { createPromMetrics } from '../dist/adapters/prom/prom-metrics.js';
import { createProbeLoop } from '../dist/agent/probe-loop.js';

const { me, checks, idleMs, calmMs } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
/** Twice as often as the hold loop of the default profile begins a round. */
const WAKE_MS = 50;

const silent = () => {};
const tell = (...told) => process.stderr.write(`${JSON.stringify(told)}\n`);
const log = { error: tell, warn: tell, info: silent, debug: silent };
log.child = () => log;
const clock = createSystemClock();
const prober = createProber({}, { clock, log, random: createSystemRandom() });
const verdicts = new Map();
const loop = createProbeLoop(
  { me },
  {
    prober,
    clock,
    log,
    metrics: createPromMetrics({ director: me, cluster: 'bench' }),
    publish: (check, vote) => verdicts.set(check, vote?.isUp ?? null),
  },
);
const end = new AbortController();
process.on('SIGTERM', () => end.abort());

/** How late the loop wakes, 99 times of 100. */
async function lateness(signal) {
  const late = [];
  while (!signal.aborted) {
    const wantedAt = clock.now() + WAKE_MS;
    await clock.sleep(WAKE_MS, signal);
    if (!signal.aborted) late.push(clock.now() - wantedAt);
  }
  late.sort((a, b) => a - b);
  return late[Math.floor(late.length * 0.99)] ?? null;
}

/** What the machine itself does to such a loop, without any check. */
const idleP99Ms = await lateness(AbortSignal.any([end.signal, AbortSignal.timeout(idleMs)]));
const running = loop.run(end.signal);
loop.setAssignments(checks, new Map());
await clock.sleep(calmMs, end.signal);
const lateP99Ms = await lateness(end.signal);
await running;
await prober.close();
const up = [...verdicts.values()].filter((isUp) => isUp === true).length;
process.stdout.write(`${JSON.stringify({ idleP99Ms, lateP99Ms, up })}\n`);
