/** VIPs that come to a group which speaks already (design 4.10). */
import { describe, expect, it } from 'vitest';
import { LateVips, type LateVipsHooks, type LateVipsPorts } from '../../../src/agent/late-vips.ts';
import type { IpAddress } from '../../../src/model/address.ts';
import { groupId } from '../../../src/model/ids.ts';
import type { VipPlace } from '../../../src/ports/neighbours.ts';
import { FakeClock } from '../../fakes/fake-clock.ts';
import { group } from '../core/election/election-driver.ts';
import { ip } from '../core/desired/spec-builders.ts';
import { RecordingLog } from './reconcile-loop.fixture.ts';

const G = groupId('web');
const H = groupId('mail');
const [A, B, C] = ['10.90.0.101', '10.90.0.102', '10.90.0.103'].map(ip);
const addressOf = (address: IpAddress) =>
  ({ address, prefix: 32, interface: 'eth0', scope: 'global', label: null }) as never;
const listOf = (...addresses: readonly (IpAddress | undefined)[]) =>
  addresses.flatMap((address) => (address === undefined ? [] : [addressOf(address)]));
const textOf = (list: readonly { readonly address: IpAddress }[]): string =>
  list.map(({ address }) => address).join(' ');

function setUp(fields: Partial<LateVipsHooks> = {}) {
  const clock = new FakeClock();
  const log = new RecordingLog();
  const asked: string[] = [];
  const contested: string[] = [];
  const state = { isSpeaking: false, isProbed: false, answered: new Set<IpAddress>() };
  const neighbours: LateVipsPorts['neighbours'] = {
    probe: async (vips: readonly VipPlace[], { count, intervalMs }) => {
      asked.push(textOf(vips));
      await clock.sleep(count * intervalMs);
      return { answered: state.answered, unasked: new Set() };
    },
  };
  const late = new LateVips(
    { neighbours, clock, log },
    {
      isAsked: () => true,
      isSpeaking: () => state.isSpeaking,
      isProbed: () => state.isProbed,
      places: ({ addresses }) => addresses.map(({ address }) => ({ device: 'eth0', address })),
      contested: (id) => contested.push(id),
      ...fields,
    },
  );
  const pass = (list: ReturnType<typeof listOf>, id = G): string =>
    textOf(late.pass(group(id, { addresses: list }), list));
  return { clock, log, asked, contested, state, late, pass };
}

describe('VIPs that come to a group', () => {
  it('pass at once while it is silent: it is asked about as a whole when it opens', () => {
    const { asked, pass } = setUp();
    expect(pass(listOf(A))).toBe(`${A}`);
    expect(pass(listOf(A, B))).toBe(`${A} ${B}`);
    expect(asked).toEqual([]);
  });

  it('wait for two probes where it speaks, and the others go on meanwhile', async () => {
    const { clock, asked, state, pass } = setUp();
    pass(listOf(A));
    state.isSpeaking = true;
    const list = listOf(A, B);
    expect(pass(list)).toBe(`${A}`);
    await clock.advance(30);
    expect(pass(list)).toBe(`${A}`);
    await clock.advance(10);
    expect(pass(list)).toBe(`${A} ${B}`);
    expect(pass(listOf(A, B))).toBe(`${A} ${B}`);
    expect(asked).toEqual([`${B}`]);
  });

  it('wait, too, where the network is asked about the others already, or was, and nobody answered', async () => {
    const { clock, asked, state, pass } = setUp();
    pass(listOf(A));
    state.isProbed = true;
    const list = listOf(A, B);
    expect(pass(list)).toBe(`${A}`);
    await clock.advance(40);
    expect(pass(list)).toBe(`${A} ${B}`);
    expect(asked).toEqual([`${B}`]);
  });

  it('pass with the others where the question that begins is about them, too', () => {
    const { asked, state, late, pass } = setUp();
    pass(listOf(A));
    state.isProbed = true;
    const list = listOf(B, C);
    const asking = late.begin(group(G, { addresses: list }), list);
    expect(textOf(asking)).toBe(`${B} ${C}`);
    expect(pass(list)).toBe(`${B} ${C}`);
    expect(asked).toEqual([]);
  });

  it('wait where the group speaks while it is asked about', async () => {
    const { clock, asked, state, late, pass } = setUp();
    pass(listOf(A));
    state.isSpeaking = true;
    const list = listOf(A, B);
    expect(textOf(late.begin(group(G, { addresses: list }), list))).toBe(`${A}`);
    await clock.advance(40);
    expect(pass(list)).toBe(`${A} ${B}`);
    expect(asked).toEqual([`${B}`]);
  });

  it('wait until whoever answered had time to yield, and that is told', async () => {
    const { clock, contested, log, state, pass } = setUp();
    if (B !== undefined) state.answered.add(B);
    pass(listOf(A));
    state.isSpeaking = true;
    expect(pass(listOf(A, B))).toBe(`${A}`);
    await clock.advance(130);
    expect(pass(listOf(A, B))).toBe(`${A}`);
    expect(log.lines.map(({ event }) => event)).toEqual(['vip.answered']);
    expect(contested).toEqual([G]);
    await clock.advance(10);
    expect(pass(listOf(A, B))).toBe(`${A} ${B}`);
  });

  it('are each asked about by themselves, also when they come one after the other', async () => {
    const { clock, asked, state, pass } = setUp();
    pass(listOf(A));
    state.isSpeaking = true;
    pass(listOf(A, B));
    await clock.advance(20);
    expect(pass(listOf(A, B, C))).toBe(`${A}`);
    await clock.advance(20);
    expect(pass(listOf(A, B, C))).toBe(`${A} ${B}`);
    await clock.advance(20);
    expect(pass(listOf(A, B, C))).toBe(`${A} ${B} ${C}`);
    expect(asked).toEqual([`${B}`, `${C}`]);
  });

  it('are asked about anew when they were away meanwhile', async () => {
    const { clock, asked, state, pass } = setUp();
    pass(listOf(A, B));
    state.isSpeaking = true;
    expect(pass(listOf(A))).toBe(`${A}`);
    await clock.advance(1000);
    expect(pass(listOf(A, B))).toBe(`${A}`);
    await clock.advance(40);
    expect(pass(listOf(A, B))).toBe(`${A} ${B}`);
    expect(asked).toEqual([`${B}`]);
  });

  it.each([
    ['before', true],
    ['after', false],
  ])(
    'pass at once from one group to another that speak here, looked at %s it',
    async (_, isFirst) => {
      const { clock, asked, state, pass } = setUp();
      pass(listOf(A, B));
      pass(listOf(C), H);
      state.isSpeaking = true;
      const leave = (): string => pass(listOf(A));
      if (!isFirst) leave();
      await clock.advance(isFirst ? 0 : 900);
      expect(pass(listOf(C, B), H)).toBe(`${C} ${B}`);
      if (isFirst) leave();
      expect(asked).toEqual([]);
    },
  );

  it('are asked about where a group here had them long ago', async () => {
    const { clock, asked, state, pass } = setUp();
    pass(listOf(A, B));
    pass(listOf(C), H);
    state.isSpeaking = true;
    pass(listOf(A));
    await clock.advance(1000);
    expect(pass(listOf(C, B), H)).toBe(`${C}`);
    expect(asked).toEqual([`${B}`]);
  });

  it('pass at once where nobody goes on without the store, and for what a new process goes on with', () => {
    const alone = setUp({ isAsked: () => false });
    alone.pass(listOf(A));
    alone.state.isSpeaking = true;
    expect(alone.pass(listOf(A, B))).toBe(`${A} ${B}`);
    const adopting = setUp();
    adopting.state.isSpeaking = true;
    expect(adopting.pass(listOf(A, B))).toBe(`${A} ${B}`);
    expect([...alone.asked, ...adopting.asked]).toEqual([]);
  });

  it('are asked about when somebody has removed them here, where anybody goes on without the store', async () => {
    const { clock, asked, contested, state, late, pass } = setUp();
    const list = listOf(A, B);
    pass(list);
    state.isSpeaking = true;
    if (B !== undefined) late.lost(G, B);
    expect(pass(list)).toBe(`${A}`);
    await clock.advance(40);
    expect(pass(list)).toBe(`${A} ${B}`);
    expect([asked, contested]).toEqual([[`${B}`], []]);
    const alone = setUp({ isAsked: () => false });
    alone.pass(list);
    alone.state.isSpeaking = true;
    if (B !== undefined) alone.late.lost(G, B);
    expect(alone.pass(list)).toBe(`${A} ${B}`);
    expect(alone.asked).toEqual([]);
  });
});
