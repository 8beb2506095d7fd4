/** Reading the connection table from a file of the kernel's form: whole, in part, missing. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { visitConnectionFile } from '../../../../src/adapters/linux/ipvs-connections.ts';
import type { IpvsConnection } from '../../../../src/model/kernel.ts';

const FIXTURE = readFileSync(join(import.meta.dirname, '../../../fixtures/ip_vs_conn.txt'), 'utf8');
const [HEADER = '', ...LINES] = FIXTURE.trimEnd().split('\n');

describe('a connection table', () => {
  let directory = '';
  let path = '';
  const signal = new AbortController().signal;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'leasehold-connections-'));
    path = join(directory, 'ip_vs_conn');
    const body = Array.from({ length: 5000 }, (_, i) => LINES[i % LINES.length]);
    writeFileSync(path, `${[HEADER, ...body, 'nonsense'].join('\n')}\n`);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test('is read whole, in many pieces', async () => {
    const sizes: number[] = [];
    const seen: IpvsConnection[] = [];
    const reading = await visitConnectionFile(
      path,
      (some) => {
        sizes.push(some.length);
        seen.push(...some);
        return true;
      },
      signal,
    );
    expect(reading).toEqual({
      ok: true,
      value: { connections: 5000, unreadable: 1, isWhole: true },
    });
    expect(Math.max(...sizes)).toBeLessThan(400);
    expect(seen.slice(0, 10)).toEqual(seen.slice(4990));
  });

  test('is left when the visitor has enough', async () => {
    let visits = 0;
    const reading = await visitConnectionFile(path, () => ++visits < 2, signal);
    expect(reading).toMatchObject({ ok: true, value: { isWhole: false } });
    expect(visits).toBe(2);
  });

  test('is left when the signal aborts', async () => {
    const abort = new AbortController();
    const reading = await visitConnectionFile(
      path,
      () => {
        abort.abort();
        return true;
      },
      abort.signal,
    );
    expect(reading).toMatchObject({ ok: true, value: { isWhole: false } });
  });

  test('that is not there means a kernel without IPVS', async () => {
    const reading = await visitConnectionFile(join(directory, 'none'), () => true, signal);
    expect(reading).toMatchObject({ ok: false, error: { code: 'UNAVAILABLE' } });
    expect(reading.ok ? '' : reading.error.message).toContain('modprobe ip_vs');
  });

  test('that cannot be read is an error, not an empty table', async () => {
    const reading = await visitConnectionFile(directory, () => true, signal);
    expect(reading).toMatchObject({ ok: false, error: { code: 'EISDIR' } });
  });
});
