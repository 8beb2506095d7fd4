/** `rebalance`: the plan on a screen, the wait for all moves, and how it ends. */
import { afterEach, describe, expect, it } from 'vitest';
import { revision } from '../../../src/model/ids.ts';
import {
  type OperationRecord,
  parseRecord,
  OperationRecord as Schema,
} from '../../../src/model/records.ts';
import { CLUSTER_DOCUMENT, specViewOf } from '../../fakes/fake-agent-view.ts';
import { type Rig, runCli, startRig } from './harness.ts';

const rigs: Rig[] = [];
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(({ api }) => api.close()));
});

/** d1 holds all of four equal groups. */
async function lopsided(): Promise<Rig> {
  const rig = await startRig();
  rigs.push(rig);
  const names = ['a', 'b', 'c', 'd'];
  const groups = Object.fromEntries(
    names.map((name, i) => [name, { addresses: [`10.91.0.${i + 1}/24`], interface: 'public' }]),
  );
  rig.view.specView = specViewOf({ ...CLUSTER_DOCUMENT, groups, services: {} }, 40);
  const status = rig.view.statusDocument;
  const [pattern] = status.groups.filter(({ name }) => name === 'mail');
  if (pattern === undefined) throw new Error('the fake view has no group "mail"');
  status.groups = names.map((name) => ({ ...structuredClone(pattern), name, holder: 'd1' }));
  return rig;
}

/** Agents that end every operation that they find, in this way. */
function endAll({ store, keys, view }: Rig, state: OperationRecord['state']): void {
  const prefix = keys.operation('x').replace(/x$/, '');
  view.operationList = store
    .keys()
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const parsed = parseRecord(Schema, JSON.stringify(store.peek(key)));
      if (!parsed.ok) throw new Error(parsed.error);
      const record: OperationRecord = {
        ...parsed.value,
        state,
        steps: [{ at: '2026-01-01T00:00:01.000Z', text: `d2 is verified to have it` }],
        result: state,
      };
      return { id: key.slice(prefix.length), revision: revision(300), record };
    });
}

describe('rebalance', () => {
  it('shows the plan and changes nothing in a dry run', async () => {
    const rig = await lopsided();
    const { code, out } = await rig.run("rebalance --reason 'd2 is back' --dry-run");
    expect(code).toBe(0);
    await expect(out).toMatchFileSnapshot('screens/rebalance.txt');
    expect(rig.store.txns).toEqual([]);
  });

  it('waits for the end of every move and shows the steps', async () => {
    const rig = await lopsided();
    const onSleep = (): void => endAll(rig, 'succeeded');
    const { code, out } = await rig.run('rebalance --reason x', { onSleep });
    expect(code).toBe(0);
    expect(out.match(/d2 is verified to have it/g)).toHaveLength(2);
    expect(out.match(/^succeeded/gm)).toHaveLength(2);
  });

  it('answers 3 when a move fails, 4 when one takes too long', async () => {
    const rig = await lopsided();
    const onSleep = (): void => endAll(rig, 'failed');
    expect((await rig.run('rebalance --reason x', { onSleep })).code).toBe(3);
    const slow = await lopsided();
    expect(await slow.run('rebalance --reason x --wait 1s')).toMatchObject({
      code: 4,
      err: expect.stringContaining('still pending after 1000 ms'),
    });
  });

  it('does not wait when told so', async () => {
    const rig = await lopsided();
    expect((await rig.run('rebalance --reason x --wait 0s')).code).toBe(0);
  });

  it('wants a reason', async () => {
    expect((await runCli(['rebalance'])).code).toBe(2);
  });
});

describe('agent', () => {
  it('removes the gate without a file, and takes the exit code', async () => {
    const uninstall = async (): Promise<number> => 1;
    const agent = async (): Promise<number> => {
      throw new Error('started the agent');
    };
    expect((await runCli(['agent', '--uninstall-gate'], {}, agent, uninstall)).code).toBe(1);
  });

  it('starts with a file only', async () => {
    expect(await runCli(['agent'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('--config'),
    });
  });
});
