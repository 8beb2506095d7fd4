import { describe, expect, test } from 'vitest';
import type { Notification } from '../../../../src/core/notify/transitions.ts';
import {
  commandsOf,
  environmentOf,
  fifoLineOf,
  priorityOf,
} from '../../../../src/core/notify/words.ts';
import type { NotifySpec } from '../../../../src/model/cluster.ts';
import { directorId, epochOf, groupId, revision } from '../../../../src/model/ids.ts';

const D1 = directorId('d1');
const TOLD: Notification = {
  group: groupId('web'),
  state: 'MASTER',
  epoch: epochOf(revision(42)),
  reason: 'holder-dead',
  priority: 150,
};
const SPEC: NotifySpec = {
  master: ['/etc/n/master', 'a b'],
  backup: null,
  fault: null,
  stop: ['/etc/n/stop'],
  any: ['/etc/n/any', '-v'],
  fifo: null,
  timeoutMs: 1_000,
  user: null,
};

describe('a notification in the forms of keepalived', () => {
  test('the program of the state has its own arguments only, the one for all comes after it', () => {
    const all = (state: string) => ['/etc/n/any', '-v', 'INSTANCE', 'web', state, '150'];
    expect(commandsOf(SPEC, TOLD)).toEqual([['/etc/n/master', 'a b'], all('MASTER')]);
    expect(commandsOf(SPEC, { ...TOLD, state: 'BACKUP' })).toEqual([all('BACKUP')]);
    expect(commandsOf(SPEC, { ...TOLD, state: 'STOP' })).toEqual([['/etc/n/stop'], all('STOP')]);
    expect(commandsOf({ ...SPEC, any: null }, { ...TOLD, state: 'FAULT' })).toEqual([]);
  });

  test('the line of the pipe has the name in quotes and the priority last', () => {
    expect(fifoLineOf(TOLD)).toBe('INSTANCE "web" MASTER 150\n');
    const longest = { ...TOLD, group: groupId('g'.repeat(63)) };
    expect(fifoLineOf(longest).length).toBeLessThan(4_096);
  });

  test('the environment has the epoch; what is not known is empty', () => {
    expect(environmentOf(TOLD, D1)).toEqual({
      LEASEHOLD_DIRECTOR: 'd1',
      LEASEHOLD_GROUP: 'web',
      LEASEHOLD_STATE: 'MASTER',
      LEASEHOLD_EPOCH: '42',
      LEASEHOLD_REASON: 'holder-dead',
      LEASEHOLD_PRIORITY: '150',
    });
    expect(environmentOf({ ...TOLD, epoch: null, reason: null }, D1)).toMatchObject({
      LEASEHOLD_EPOCH: '',
      LEASEHOLD_REASON: '',
    });
  });

  test.each([
    [new Map([[D1, 150]]), -20, 130],
    [new Map([[D1, 150]]), 200, 254],
    [new Map([[D1, 20]]), -40, 1],
    [null, 0, 100],
  ])('the priority of %s with %d of tracks is %d', (priorities, bonus, priority) => {
    expect(priorityOf({ priorities }, D1, bonus)).toBe(priority);
  });
});
