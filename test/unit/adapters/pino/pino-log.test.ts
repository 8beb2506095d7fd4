/** The log: one JSON object a line, levels, children, errors with their cause, and no secrets. */
import { describe, expect, it } from 'vitest';
import { createPinoLog } from '../../../../src/adapters/pino/pino-log.ts';
import type { Log } from '../../../../src/ports/log.ts';

type Level = 'error' | 'warn' | 'info' | 'debug';

/** A log and the lines it wrote, parsed. */
function logOf(level: Level): {
  readonly log: Log;
  readonly lines: () => readonly Record<string, unknown>[];
} {
  const written: string[] = [];
  const log = createPinoLog({ level, name: 'd1' }, { write: (line) => void written.push(line) });
  return { log, lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe('a line', () => {
  it('has time, level, name, event and the fields', () => {
    const { log, lines } = logOf('info');
    log.info({ group: 'web', epoch: 7 }, 'holder.gained');
    expect(lines()).toEqual([
      {
        level: 'info',
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        name: 'd1',
        group: 'web',
        epoch: 7,
        event: 'holder.gained',
      },
    ]);
  });

  it.each([
    ['error', ['error']],
    ['warn', ['error', 'warn']],
    ['info', ['error', 'warn', 'info']],
    ['debug', ['error', 'warn', 'info', 'debug']],
  ] as const)('is written at level %s for %j', (level, written) => {
    const { log, lines } = logOf(level);
    for (const each of ['error', 'warn', 'info', 'debug'] as const) log[each]({}, 'plan.applied');
    expect(lines().map((line) => line['level'])).toEqual(written);
  });

  it('of a child has the fields of its parents', () => {
    const { log, lines } = logOf('debug');
    log.child({ loop: 'hold' }).child({ group: 'web' }).debug({ round: 3 }, 'round.confirmed');
    expect(lines()[0]).toMatchObject({ loop: 'hold', group: 'web', round: 3 });
  });

  it('shows an error with message, code and stack', () => {
    const { log, lines } = logOf('info');
    const error = Object.assign(new Error('refused'), { code: 'EPERM' });
    log.error({ error }, 'plan.failed');
    expect(lines()[0]?.['error']).toMatchObject({
      message: 'refused',
      code: 'EPERM',
      stack: expect.stringContaining('pino-log.test.ts'),
    });
  });

  it('leaves an error text as it is', () => {
    const { log, lines } = logOf('info');
    log.warn({ error: 'refused' }, 'plan.failed');
    expect(lines()[0]?.['error']).toBe('refused');
  });

  it.each(['password', 'token', 'secret', 'authorization'])('never shows a %s', (field) => {
    const { log, lines } = logOf('info');
    log.info({ [field]: 'hunter2', request: { [field]: 'hunter2' } }, 'store.connected');
    log.child({ [field]: 'hunter2' }).info({}, 'store.connected');
    expect(JSON.stringify(lines())).not.toContain('hunter2');
    expect(lines()[0]?.[field]).toBe('[redacted]');
  });
});
