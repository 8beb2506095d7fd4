/** `director confirm-dead`: it says what it risks, asks, and is about the session that was shown. */
import { afterEach, describe, expect, it } from 'vitest';
import { directorId } from '../../../src/model/ids.ts';
import type { DirectorStatus } from '../../../src/model/status.ts';
import { type Rig, startRig } from './harness.ts';

const D2 = directorId('d2');
const COMMAND = "director confirm-dead d2 --reason 'powered off'";

const rigs: Rig[] = [];
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(({ api }) => api.close()));
});

/** d2 holds mail, and died with all that its scope names. */
async function silentRig(
  fields: Partial<NonNullable<DirectorStatus['silence']>> = {},
): Promise<{ rig: Rig; session: number }> {
  const rig = await startRig();
  rigs.push(rig);
  const session = rig.store.put(rig.keys.session(D2), {
    v: 1,
    state: 'open',
    boot: 'b',
    namespace: 'n',
    machine: 'm',
    nonce: '0f',
    address: '10.90.0.12',
    id: 0,
  });
  for (const director of rig.view.statusDocument.directors)
    if (director.name === 'd2')
      director.silence = {
        forMs: 42_000,
        session,
        needsWord: true,
        confirmedDead: null,
        ...fields,
      };
  return { rig, session };
}

const wordIn = ({ store, keys }: Rig): unknown => store.peek(keys.confirmDead(D2));

describe('director confirm-dead', () => {
  it('asks what it needs to know, after it has told why, and then gives the word', async () => {
    const { rig, session } = await silentRig();
    const asked: string[] = [];
    const ask = async (question: string): Promise<string> => {
      asked.push(question);
      expect(wordIn(rig)).toBeNull();
      return 'yes';
    };
    const { code, out, err } = await rig.run(COMMAND, { ask });
    expect(code).toBe(0);
    expect(asked).toEqual(['Is d2 off, by your own eyes or its power switch? [y/N] ']);
    expect(err).toContain('warning: d2 must be off');
    expect(err.match(/warning/g)).toHaveLength(1);
    expect(out).toBe(
      [
        `d2: session ${session}, not heard for 42s`,
        `confirm that d2 is dead (session ${session})`,
        'It is challenged now, and shut out when it leaves that unanswered: leasehold status',
        '',
      ].join('\n'),
    );
    expect(wordIn(rig)).toMatchObject({ session, reason: 'powered off' });
  });

  it.each(['n', '', 'perhaps', 'yess'])('gives no word after the answer %j', async (answer) => {
    const { rig } = await silentRig();
    const { code, out } = await rig.run(COMMAND, { ask: async () => answer });
    expect([code, out.endsWith('nothing was confirmed\n')]).toEqual([3, true]);
    expect(rig.store.txns).toEqual([]);
  });

  it('gives none where nobody can be asked, unless --yes says it', async () => {
    const { rig } = await silentRig();
    const refused = await rig.run(COMMAND);
    expect(refused.code).toBe(2);
    expect(refused.err).toContain('say so with --yes');
    expect(wordIn(rig)).toBeNull();
    expect((await rig.run(`${COMMAND} --yes`)).code).toBe(0);
    expect(wordIn(rig)).not.toBeNull();
  });

  it('is about the session that was shown, and no later one', async () => {
    const { rig } = await silentRig();
    const ask = async (): Promise<string> => {
      const later = rig.store.put(rig.keys.session(D2), { ...record(rig), nonce: '10' });
      for (const one of rig.view.statusDocument.directors)
        if (one.silence !== undefined) one.silence.session = later;
      return 'y';
    };
    const { code, err } = await rig.run(COMMAND, { ask });
    expect(code).toBe(3);
    expect(err).toContain('it has lived since');
    expect(wordIn(rig)).toBeNull();
  });

  it('changes nothing in a dry run, and asks nobody', async () => {
    const { rig, session } = await silentRig();
    const { code, out, err } = await rig.run(`${COMMAND} --dry-run`);
    expect(code).toBe(0);
    expect(out).toContain(`dry run: confirm that d2 is dead (session ${session})`);
    expect(err).toContain('d2 must be off');
    expect(rig.store.txns).toEqual([]);
  });

  it('asks nobody where it was said already, or may not be said', async () => {
    const ask = async (): Promise<string> => {
      throw new Error('it asked');
    };
    const { rig } = await silentRig();
    await rig.run(`${COMMAND} --yes`);
    expect(await rig.run(COMMAND, { ask })).toMatchObject({ code: 0 });
    expect((await rig.run(COMMAND, { ask })).out).toContain('nothing to do: ');
    const { rig: judged } = await silentRig({ needsWord: false });
    expect(await judged.run(COMMAND, { ask })).toMatchObject({ code: 3 });
    const heard = await startRig();
    rigs.push(heard);
    expect((await heard.run(COMMAND, { ask })).code).toBe(3);
    expect((await heard.run('director confirm-dead d9 --reason x', { ask })).code).toBe(2);
  });

  it('needs a name and a reason, and a director that answers', async () => {
    const { rig } = await silentRig();
    expect((await rig.run('director confirm-dead d2 --yes')).code).toBe(2);
    expect((await rig.run('director confirm-dead --reason x --yes')).code).toBe(2);
    rig.store.isDown = true;
    expect((await rig.run(`${COMMAND} --yes`)).code).toBe(5);
  });
});

const record = ({ store, keys }: Rig): object => store.peek(keys.session(D2)) as object;

describe('status and explain', () => {
  const word = { by: 'alice', reason: 'powered off', at: '2026-01-01T00:00:00.000Z' };

  it('name the command where only an operator can help', async () => {
    const { rig } = await silentRig();
    const { out } = await rig.run('explain group mail');
    expect(out).toContain('d2 is not heard, and none of those that its scope names is left');
    expect(out).toContain('leasehold director confirm-dead d2 --reason "powered off"');
    expect((await rig.run('explain group web')).out).not.toContain('confirm-dead');
  });

  it('say who has said so', async () => {
    const { rig, session } = await silentRig({ confirmedDead: word });
    const { out } = await rig.run('explain group mail');
    expect(out).toContain(`d2 was confirmed dead by alice (powered off), session ${session}`);
    expect((await rig.run('director list')).out).toMatch(/d2 .* confirmed dead /);
    expect((await rig.run('status')).out).toMatch(/d2 .* confirmed dead /);
  });

  it('say nothing of a silence that others deal with', async () => {
    const { rig } = await silentRig({ needsWord: false });
    expect((await rig.run('explain group mail')).out).not.toContain('not heard');
  });
});
