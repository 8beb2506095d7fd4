/** The table of the failover bench. */
import { describe, expect, it } from 'vitest';
import { failoverTable, type Measured } from '../../../bench/failover-table.ts';
import type { Verdict } from '../../support/verdict.ts';

const quiet: Verdict = {
  outageMs: 200,
  lost: 40,
  asked: 400,
  oldLastMs: 0,
  newFirstMs: 200,
  dualMs: 0,
  isDualAtEnd: false,
};
const measured = (column: Measured['column'], fault: string, runs: Verdict[][]): Measured => ({
  column,
  fault,
  taken: '2026-11-21, revision abc',
  runs,
});
const rowOf = (table: string, name: string): string =>
  table.split('\n').find((line) => line.startsWith(`| ${name} |`)) ?? '';

describe('the table of the failover bench', () => {
  it('shows the median and the most of each family, and nothing of what was not taken', () => {
    const runs = [200, 230, 220].map((outageMs) => [{ ...quiet, outageMs }, quiet]);
    const table = failoverTable([measured('fast', 'power-off', runs)]);
    expect(rowOf(table, 'power off')).toBe(
      '| power off | 220 ms (230) · IPv6 200 ms (200) | – | – | – |',
    );
    expect(table).not.toContain('SIGTERM');
  });

  it('shows lost echoes where none may be lost, in ours only', () => {
    const runs = [
      [
        { ...quiet, lost: 0, outageMs: 4 },
        { ...quiet, lost: 1, outageMs: 7 },
      ],
    ];
    const table = failoverTable([
      measured('fast', 'sigterm', runs),
      measured('v2-1s', 'sigterm', runs),
    ]);
    expect(rowOf(table, 'SIGTERM')).toBe(
      '| SIGTERM | lost 1 of 800, longest gap 7 ms | – | – | 4 ms (4) · IPv6 7 ms (7) |',
    );
  });

  it('says where two voices were heard, and counts the runs of ours', () => {
    const dual = { ...quiet, dualMs: 15 };
    const endless = { ...quiet, dualMs: 5000, isDualAtEnd: true };
    const table = failoverTable([
      measured('default', 'kill', [
        [quiet, quiet],
        [dual, quiet],
      ]),
      measured('v3-100ms', 'kill', [[endless, endless]]),
    ]);
    expect(rowOf(table, 'kill -9 of all agent processes')).toContain('**two voices 0 ms (15)**');
    expect(rowOf(table, 'kill -9 of all agent processes')).toContain(
      '**two voices until the end**',
    );
    expect(table).toContain('two voices in 1 of 2 runs');
  });

  const of = (outageMs: number, lost = 0): Verdict[][] => [
    [
      { ...quiet, outageMs, lost },
      { ...quiet, outageMs, lost: 0 },
    ],
  ];

  it('says of no bound that it is met where nothing was compared', () => {
    const table = failoverTable([measured('fast', 'kill', of(200))]);
    expect(table).toMatch(/- fast .*: no crash was compared\./);
    expect(table).not.toContain('- default');
  });

  it('tells when its rows were taken, and which of them at another time', () => {
    const later = { ...measured('fast', 'drain', of(5)), taken: '2026-11-22, revision def' };
    const rows = [measured('fast', 'kill', of(200)), measured('default', 'kill', of(200)), later];
    expect(failoverTable(rows)).toContain(
      'Taken: 2026-11-21, revision abc, 1 runs each.\nBut drain: 2026-11-22, revision def, 1 runs each.',
    );
  });

  it('tells which bounds are missed, and by how much', () => {
    const table = failoverTable([
      measured('fast', 'power-off', of(200)),
      measured('fast', 'drain', of(5)),
      measured('v3-100ms', 'power-off', of(400)),
      measured('default', 'power-off', of(1000)),
      measured('default', 'drain', of(5, 3)),
      measured('default', 'flush', of(1001)),
      measured('v2-1s', 'power-off', of(2000)),
    ]);
    expect(table).toMatch(/- fast .*: all met, the costliest crash 0\.50\./);
    expect(table).toMatch(
      /- default .*\*\*missed\*\*: power off \(0\.50\), drain \(3 lost\), nft .*1001 ms\)\./,
    );
  });
});
