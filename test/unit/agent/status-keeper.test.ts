/** What is known of checks on disk: not too often, the newest at the end, and never less than was known. */
import { describe, expect, it } from 'vitest';
import { SAVE_EVERY_MS, StatusKeeper } from '../../../src/agent/status-keeper.ts';
import { err, ok, type Result } from '../../../src/lib/result.ts';
import type { CheckStatus } from '../../../src/model/health.ts';
import { type CheckId, checkId } from '../../../src/model/ids.ts';
import { silentLog } from '../../../src/ports/log.ts';
import type { KnownStatuses } from '../../../src/ports/status-ledger.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';

const C1 = checkId('c1');
const C2 = checkId('c2');
const status = (isUp: boolean, basis: CheckStatus['basis'] = 'majority'): CheckStatus => ({
  isUp,
  basis,
  votesUp: 0,
  votesDown: 0,
});

function newKeeper(kept: KnownStatuses = new Map()) {
  const clock = new FakeClock();
  const saves: KnownStatuses[] = [];
  const warnings: unknown[] = [];
  let outcome: Result<void, string> = ok(undefined);
  const keeper = new StatusKeeper({
    ledger: {
      load: async () => ok(kept),
      save: async (statuses) => {
        saves.push(statuses);
        return outcome;
      },
    },
    clock,
    log: { ...silentLog, warn: (fields) => warnings.push(fields) },
  });
  const look = (...pairs: [CheckId, CheckStatus][]) => keeper.look(() => new Map(pairs));
  return {
    keeper,
    clock,
    saves,
    warnings,
    look,
    fail: (problem: string) => {
      outcome = err(problem);
    },
    recover: () => {
      outcome = ok(undefined);
    },
  };
}

describe('the status keeper', () => {
  it('writes what votes have decided, and nothing that was only assumed', async () => {
    const { clock, saves, look } = newKeeper();
    look([C1, status(false)], [C2, status(true, 'initial')]);
    await clock.advance(0);
    expect(saves).toEqual([new Map([[C1, false]])]);
  });

  it('writes once in a while, the newest, and the rest at the end', async () => {
    const { keeper, clock, saves, look } = newKeeper();
    look([C1, status(false)]);
    await clock.advance(1);
    for (const isUp of [true, false, true]) look([C1, status(isUp)]);
    await clock.advance(SAVE_EVERY_MS - 2);
    expect(saves).toHaveLength(1);
    await clock.advance(2);
    expect(saves.at(-1)).toEqual(new Map([[C1, true]]));
    look([C1, status(false)]);
    await keeper.end();
    expect(saves.at(-1)).toEqual(new Map([[C1, false]]));
    expect(saves).toHaveLength(3);
  });

  it('writes nothing that is on disk already, nor anything before it has looked', async () => {
    const { keeper, clock, saves, look } = newKeeper(new Map([[C1, false]]));
    expect(await keeper.load()).toEqual(new Map([[C1, false]]));
    look([C1, status(false, 'kept')]);
    await clock.advance(SAVE_EVERY_MS);
    await keeper.end();
    expect(saves).toEqual([]);
    const other = newKeeper(new Map([[C1, false]]));
    await other.keeper.load();
    await other.keeper.end();
    expect(other.saves).toEqual([]);
  });

  it('warns once where it cannot write', async () => {
    const { clock, warnings, look, fail } = newKeeper();
    fail('the disk is full');
    for (const isUp of [true, false, true]) {
      look([C1, status(isUp)]);
      await clock.advance(SAVE_EVERY_MS);
    }
    expect(warnings).toEqual([{ problem: 'the disk is full' }]);
  });

  it('writes again what could not be written, though nothing has changed since', async () => {
    const { keeper, clock, saves, look, fail, recover } = newKeeper();
    fail('the disk is full');
    look([C1, status(false)]);
    await clock.advance(SAVE_EVERY_MS);
    recover();
    look([C1, status(false)]);
    await clock.advance(SAVE_EVERY_MS);
    expect(saves).toEqual([new Map([[C1, false]]), new Map([[C1, false]])]);
    await keeper.end();
    expect(saves).toHaveLength(2);
  });
});
