/** What docs/notify.md says of states, words and times, held against the code. */
import { describe, expect, it } from 'vitest';
import { END_MS, LAST_RUN_MS } from '../../../src/agent/notify-loop.ts';
import { DEFAULT_NOTIFY_TIMEOUT_MS } from '../../../src/config/defaults.ts';
import {
  EMPTY_BOOK,
  type GroupObservation,
  SILENT_GRACE_MS,
  stepNotify,
} from '../../../src/core/notify/transitions.ts';
import { WAITING_MAX } from '../../../src/core/notify/waiting-line.ts';
import { environmentOf, fifoLineOf } from '../../../src/core/notify/words.ts';
import { INELIGIBLE_REASONS, type IneligibleReason } from '../../../src/model/decision.ts';
import { directorId, epochOf, groupId, monoMs, revision } from '../../../src/model/ids.ts';
import { inlineCodeOf, proseOf, read } from './documents.ts';

const FILE = 'docs/notify.md';
const code = inlineCodeOf(FILE);
const prose = proseOf(FILE).replaceAll(/\s+/g, ' ');
const seconds = (ms: number): string => `${ms / 1000} s`;

/** What a director that starts with this obstacle is told. */
function firstStateWith(ineligible: IneligibleReason): string | null {
  const observation: GroupObservation = {
    group: groupId('db'),
    phase: 'none',
    epoch: null,
    ineligible,
    reason: null,
    priority: 100,
  };
  return stepNotify(EMPTY_BOOK, [observation], monoMs(0)).notifications[0]?.state ?? null;
}

describe(FILE, () => {
  it('names exactly the obstacles that are faults', () => {
    const faults = INELIGIBLE_REASONS.filter((reason) => firstStateWith(reason) === 'FAULT');
    const named = INELIGIBLE_REASONS.filter((reason) => code.includes(reason));
    expect(named).toEqual(faults);
  });

  it('shows the line and names the variables as they are', () => {
    const told = {
      group: groupId('db'),
      state: 'MASTER',
      epoch: epochOf(revision(1)),
      reason: null,
      priority: 150,
    } as const;
    expect(read(FILE)).toContain(`\n${fifoLineOf(told)}`);
    const variables = code.filter((word) => word.startsWith('LEASEHOLD_'));
    expect(variables.toSorted()).toEqual(
      Object.keys(environmentOf(told, directorId('d1'))).toSorted(),
    );
  });

  it('tells the times and bounds as they are', () => {
    expect(prose).toContain(`\`timeout\` (${seconds(DEFAULT_NOTIFY_TIMEOUT_MS)} where`);
    expect(prose).toContain(`for less than ${seconds(SILENT_GRACE_MS)} is not told;`);
    expect(prose).toContain(`up to ${WAITING_MAX} states wait`);
    expect(prose).toContain(`still runs has ${seconds(LAST_RUN_MS)}`);
    expect(prose).toContain(`have ${seconds(END_MS)} together`);
  });
});
