/** File checks where the file cannot be read: that is this director's trouble, and says nothing of the real server. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FileProbes } from '../../../../src/adapters/probes/file-probe.ts';
import type { Outcome } from '../../../../src/adapters/probes/probe.ts';
import type { FileCheck } from '../../../../src/model/check.ts';
import { checkId } from '../../../../src/model/ids.ts';
import { ip, TCP_CHECK } from '../../core/desired/spec-builders.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'lh-file-probe-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const start = (probes: FileProbes, path: string, done: (outcome: Outcome) => void) => {
  const kind: FileCheck = { kind: 'file', path, factor: null };
  const spec = { ...TCP_CHECK, ...kind };
  return probes.start({ id: checkId('f'), address: ip('192.0.2.1'), port: 0, spec }, kind, done);
};
const look = (path: string): Promise<Outcome> =>
  new Promise((done) => start(new FileProbes(), path, done));

test('what cannot be opened is neither 0 nor down', async () => {
  const path = join(directory, 'loop');
  symlinkSync(path, path);
  const outcome = await look(path);
  expect(outcome.kind).toBe('local');
  expect(outcome.detail).toMatch(/^\S+loop cannot be read: ELOOP/);
  expect(outcome.detail).not.toContain('counts as');
});

test('what is not there is up, what holds no number is down', async () => {
  expect(await look(join(directory, 'nothing'))).toMatchObject({ kind: 'up' });
  const path = join(directory, 'words');
  writeFileSync(path, 'up');
  expect(await look(path)).toEqual({
    kind: 'down',
    reason: 'file-unreadable',
    detail: `${path} holds no integer`,
  });
});

test('a disk that does not answer says nothing of the real server', () => {
  const probes = new FileProbes();
  const path = join(directory, 'slow');
  const isOver = (): void => {
    throw new Error('it has expired');
  };
  // The read of the first is under way until the event loop has its turn.
  const probed = [start(probes, path, isOver), start(probes, path, isOver)];
  const detail = `${path} could not be read within ${TCP_CHECK.timeoutMs} ms`;
  expect(probed.map((probe) => probe.expire())).toEqual([
    { kind: 'local', detail },
    { kind: 'local', detail },
  ]);
});
