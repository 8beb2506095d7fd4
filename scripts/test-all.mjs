/**
 * Everything `make test` runs after the set-up: build, types, lint, format, the suites one after the
 * other, the unit tests on each supported Node, and a look for anything left behind. The last line is
 * "N passed, N failed": tests, and each failed step that is no test run counts as one failed.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';

const MINUTE_MS = 60_000;
const MESSAGE_LINES = 12;
process.umask(0o022);
mkdirSync(tmpdir(), { recursive: true });
const temporary = mkdtempSync(join(tmpdir(), 'lh-test-'));
// Programs that tests run as another user are in there.
chmodSync(temporary, 0o711);
const journal = join(temporary, 'leasehold-networks.txt');
const totals = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const running = new Set();

/** Each step has a session of its own: where the kernel groups processes by it, nice alone means nothing (sched(7)). */
const OUT_OF_THE_WAY = [
  'sh',
  '-c',
  'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"',
  'aside',
];

/**
 * What the caller's environment must not decide: the words that programs print, where they are found (`su` keeps
 * the path of a user), and whether they ask a proxy for what is in a namespace, or on loopback.
 */
const ENVIRONMENT = [
  ...['http_proxy', 'https_proxy', 'grpc_proxy', 'all_proxy'].flatMap((name) => [
    `--unset=${name}`,
    `--unset=${name.toUpperCase()}`,
  ]),
  ...['NODE_ENV', 'NODE_OPTIONS', 'LANGUAGE'].map((name) => `--unset=${name}`),
  'LC_ALL=C.UTF-8',
  // oxlint-disable-next-line no-restricted-properties -- no configuration of the product
  `PATH=${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`,
  `TMPDIR=${temporary}`,
];

const say = (text) => process.stdout.write(`${text}\n`);

/** Runs a command in its own process group with a limit; gives its exit code. */
async function runStep(argv, limitMs, output) {
  const child = spawn('env', [...ENVIRONMENT, ...argv], {
    stdio: ['ignore', output, output],
    detached: true,
  });
  running.add(child);
  const over = new AbortController();
  const ended = new Promise((resolve) => {
    child.on('exit', (code) => resolve(code ?? 1));
  });
  const late = wait(limitMs, 'late', { signal: over.signal }).catch(() => 'ended');
  if ((await Promise.race([ended, late])) === 'late') {
    say(`the step took longer than ${limitMs / MINUTE_MS} minutes`);
    killGroup(child, 'SIGKILL');
  }
  over.abort();
  const code = await ended;
  running.delete(child);
  return code;
}

function killGroup(child, signal) {
  if (child.pid !== undefined) kill(-child.pid, signal);
}

/** What has ended by itself meanwhile is no error. */
function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

/** `isAside`: beside another step, out of its way; what it prints comes in one piece at its end. */
async function step(name, argv, minutes = 3, isAside = false) {
  const start = process.hrtime.bigint();
  if (!isAside) say(`\n=== ${name}`);
  const code = isAside
    ? await stepAside(name, argv, minutes)
    : await runStep(argv, minutes * MINUTE_MS, 'inherit');
  const seconds = Number((process.hrtime.bigint() - start) / 1_000_000n) / 1000;
  say(`=== ${name}: ${code === 0 ? 'ok' : `FAILED (code ${code})`}, ${seconds.toFixed(1)} s`);
  return code === 0;
}

async function stepAside(name, argv, minutes) {
  const path = join(temporary, 'output-aside.txt');
  const output = openSync(path, 'w');
  const code = await runStep([...OUT_OF_THE_WAY, ...argv], minutes * MINUTE_MS, output);
  closeSync(output);
  say(`\n=== ${name}\n${readFileSync(path, 'utf8')}`);
  rmSync(path);
  return code;
}

function fail(name) {
  totals.failed += 1;
  failures.push(name);
}

async function check(name, argv, minutes) {
  const isOk = await step(name, argv, minutes);
  if (!isOk) fail(name);
  return isOk;
}

/** A vitest project; its counts are read from the JSON report. */
async function suite(name, project, node, minutes, isAside = false) {
  const report = join(temporary, `report-${name.replaceAll(/[^a-z0-9]+/gi, '-')}.json`);
  const argv = [node, 'node_modules/vitest/vitest.mjs', 'run', '--project', project];
  argv.push('--reporter=default', '--reporter=json', `--outputFile.json=${report}`);
  const isOk = await step(name, argv, minutes, isAside);
  if (!existsSync(report)) return fail(`${name}: no report`);
  const counts = parse(readFileSync(report, 'utf8'));
  rmSync(report);
  if (counts === null) return fail(`${name}: its report is not whole`);
  totals.passed += counts.numPassedTests;
  totals.failed += counts.numFailedTests;
  totals.skipped += counts.numPendingTests;
  failures.push(...failedTests(name, counts));
  // What no test can say: a set-up or a file that failed, with all that did not run then.
  const broken = brokenFiles(name, counts);
  if (broken.length > 0) broken.forEach(fail);
  else if (!isOk && counts.numFailedTests === 0) fail(name);
  else if (isOk && counts.numPassedTests === 0) fail(`${name}: no test ran`);
}

function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null; // The step was ended while it wrote.
  }
}

/** Each failed test with the beginning of its message: who reads the end of the output alone shall know it. */
function failedTests(name, report) {
  return report.testResults.flatMap((file) =>
    file.assertionResults
      .filter((test) => test.status === 'failed')
      .map((test) => {
        const title = `${name}: ${relative('.', file.name)}: ${test.fullName}`;
        return entry(title, test.failureMessages[0]);
      }),
  );
}

/** Files that failed though none of their tests did. */
function brokenFiles(name, report) {
  return report.testResults
    .filter(({ status }) => status === 'failed')
    .filter((file) => !file.assertionResults.some((test) => test.status === 'failed'))
    .map((file) => entry(`${name}: ${relative('.', file.name)}`, file.message));
}

function entry(title, message) {
  const lines = stripVTControlCharacters(message || 'see above').split('\n');
  return [title, ...lines.slice(0, MESSAGE_LINES)].join('\n    ');
}

/** Namespaces and files that a test made and did not take away. */
async function leftBehind() {
  const networks = readFileSync(journal, 'utf8').split('\n').filter(Boolean);
  const own = new Set([journal, ...caches()]);
  for (let tries = 0; ; tries += 1) {
    const namespaces = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
      .split('\n')
      .map((line) => line.split(' ')[0])
      .filter((name) => networks.some((network) => name.startsWith(`${network}-`)));
    const files = [...filesIn(temporary), ...filesIn('/dev/shm', basename(temporary))].filter(
      (path) => !own.has(path),
    );
    const processes = processesUsing(temporary);
    const left = [...namespaces, ...files, ...processes.map((each) => each.line)];
    if (left.length === 0) return left;
    if (tries === 20) {
      for (const { pid } of processes) kill(pid, 'SIGKILL');
      return left;
    }
    await wait(250); // A reaper may still be at work.
  }
}

/** Those whose name has `part`; none where the directory is not there. */
function filesIn(directory, part = '') {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.includes(part))
    .map((name) => join(directory, name));
}

/** Tools of the build keep caches in the temporary directory; they go with it. */
function caches() {
  return readdirSync(temporary)
    .filter((name) => /^(tsx-\d+|node-compile-cache|v8-compile-cache.*|npm-.*)$/.test(name))
    .map((name) => join(temporary, name));
}

/** Processes whose command line names the directory. */
function processesUsing(directory) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        if (!line.includes(directory)) return [];
        return [{ pid: Number(name), line: `process ${name}: ${line}` }];
      } catch {
        return []; // It ended meanwhile.
      }
    });
}

function toolchain(major) {
  const base = 'node_modules/.toolchains';
  const version = readdirSync(base).find((name) => name.startsWith(`${major}.`));
  return join(base, version ?? '', 'node_modules', `node-linux-${process.arch}`, 'bin/node');
}

async function everything() {
  const node = process.execPath;
  if (!(await check('build', ['npm', 'run', '--silent', 'build']))) return;
  await check('types', ['npm', 'run', '--silent', 'types']);
  await check('lint', ['npm', 'run', '--silent', 'lint']);
  await check('format', ['npm', 'run', '--silent', 'format:check']);
  await suite(`unit on Node ${process.versions.node}`, 'unit', node, 8);
  await suite('sim', 'sim', node, 8);
  // Contracts wait for kernels and servers most of the time.
  await Promise.all([suite('contract', 'contract', node, 10), otherNodes()]);
  await suite('lab', 'lab*', node, 22);
  await suite('rack', 'rack*', node, 20);
}

async function otherNodes() {
  for (const major of [22, 24])
    await suite(`unit on Node ${major}`, 'unit', toolchain(major), 8, true);
}

function removeFiles() {
  for (const path of [temporary, ...filesIn('/dev/shm', basename(temporary))])
    rmSync(path, { recursive: true, force: true });
}

function interrupt() {
  for (const child of running) killGroup(child, 'SIGTERM');
  removeFiles();
  process.exit(130);
}

process.on('SIGINT', interrupt);
process.on('SIGTERM', interrupt);
process.on('SIGHUP', interrupt);
writeFileSync(journal, '');
await everything();
const left = await leftBehind();
if (left.length > 0) {
  fail('left behind');
  say(`\nleft behind:\n  ${left.join('\n  ')}`);
}
removeFiles();
if (failures.length > 0) say(`\nfailed:\n  ${failures.join('\n  ')}`);
if (totals.skipped > 0) say(`skipped: ${totals.skipped}`);
say(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 ? 0 : 1);
