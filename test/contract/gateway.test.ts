/** The gateway's contract on the fake and on real networks, and what only real sockets show. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpAddress } from '../../src/model/address.ts';
import type { GatewayRequest } from '../../src/ports/gateway.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeGatewayPing } from '../fakes/fake-gateway.ts';
import {
  FAR_4,
  gatewayContract,
  ip,
  NEAR_4,
  NEAR_6,
  type TimedAnswer,
} from './gateway.contract.ts';
import { GatewayNetwork } from './support/gateway-network.ts';

const ME_4 = ip('10.90.0.11');
const ME_6 = ip('fd90::11');
const SOURCE: GatewayRequest['source'] = {
  4: { kind: 'address', address: ME_4 },
  6: { kind: 'address', address: ME_6 },
};
const VIPS = ['10.90.0.100', '10.90.0.101', 'fd90::100', 'fd90::101'].map(ip);
/** As the agent says it where the document does not name an address of the family. */
const ANY: GatewayRequest['source'] = {
  4: { kind: 'devices', devices: ['eth0'], except: VIPS },
  6: { kind: 'devices', devices: ['eth0'], except: VIPS },
};

gatewayContract('fake', async () => {
  const clock = new FakeClock();
  const silent = new Set<IpAddress>();
  const ping = new FakeGatewayPing((target) => (silent.has(target) ? null : 1), { clock });
  return {
    source: SOURCE,
    promptMs: 100,
    ask: async (request, abortAfterMs) => {
      const from = clock.now();
      const end = new AbortController();
      if (abortAfterMs !== undefined) clock.schedule(abortAfterMs, () => end.abort());
      const answer = await clock.settle(ping.ask(request, end.signal));
      return { ...answer, ms: clock.now() - from };
    },
    setTarget: async (target, state) => {
      if (state === 'silent') silent.add(target);
      else silent.delete(target);
    },
    close: async () => ping.close(),
  };
});

for (const [name, source] of [
  ['raw sockets, the own address', SOURCE],
  ['raw sockets, an address of the device', ANY],
] as const)
  gatewayContract(name, async () => {
    const network = await GatewayNetwork.start();
    return {
      source,
      promptMs: 4_000,
      ask: (request, abortAfterMs) => network.ask(request, abortAfterMs),
      setTarget: (target, state) => network.setTarget(target, state),
      close: () => network.close(),
    };
  });

describe('a gateway on a real network', () => {
  let network: GatewayNetwork;
  beforeAll(async () => {
    network = await GatewayNetwork.start();
  });
  afterAll(() => network.close());

  const ask = (
    targets: readonly IpAddress[],
    more: Partial<GatewayRequest> = {},
  ): Promise<TimedAnswer> =>
    network.ask({ targets, mode: 'all', timeoutMs: 10_000, source: SOURCE, ...more });
  const ipOf = (...words: readonly string[]): Promise<string> =>
    network.net.execOk('d1', ['ip', ...words]);

  test('is asked from the own address only, though VIPs are bound beside it', async () => {
    await network.countRequests([ME_4, ME_6, ...VIPS]);
    for (const source of [SOURCE, ANY])
      expect((await ask([NEAR_4, FAR_4, NEAR_6], { source })).isReachable).toBe(true);
    const counts = await network.requestCounts();
    expect(counts.get(ME_4)).toBe(4);
    expect(counts.get(ME_6)).toBe(2);
    for (const vip of VIPS) expect(counts.get(vip)).toBe(0);
  });

  test('answers where the gate silences the VIPs', async () => {
    await network.silence(VIPS);
    for (const source of [SOURCE, ANY])
      expect((await ask([NEAR_4, FAR_4, NEAR_6], { source })).isReachable).toBe(true);
  });

  test('by its link-local address answers, too', async () => {
    const text = await network.net.execOk('gw', [
      'ip',
      '-6',
      '-br',
      'address',
      'show',
      'dev',
      'eth0',
    ]);
    const target = ip(/fe80::[0-9a-f:]+/.exec(text)?.[0] ?? 'none');
    for (const source of [SOURCE, ANY])
      expect((await ask([target], { source })).isReachable).toBe(true);
  });

  test('that is this host itself proves nothing', async () => {
    const answer = await ask([ME_4, ip('127.0.0.1'), VIPS[0] ?? ME_4], { timeoutMs: 100 });
    expect(answer.answered).toEqual([]);
    for (const { reason } of answer.unanswered) expect(reason).toMatch(/would answer itself/);
  });

  test('is not found, with reasons, without a route, a device, or the own address', async () => {
    const reasonsOf = async (target: IpAddress): Promise<string> =>
      (await ask([target], { timeoutMs: 100 })).unanswered.map(({ reason }) => reason).join();
    await ipOf('route', 'del', 'default');
    expect(await reasonsOf(FAR_4)).toMatch(/no route/);
    await ipOf('route', 'add', 'default', 'via', NEAR_4);
    await ipOf('address', 'del', `${ME_4}/24`, 'dev', 'eth0');
    await sleep(1_100);
    expect(await reasonsOf(NEAR_4)).toMatch(/not bound here/);
    await ipOf('address', 'add', `${ME_4}/24`, 'dev', 'eth0');
    await ipOf('route', 'replace', 'default', 'via', NEAR_4);
    await ipOf('link', 'set', 'eth0', 'down');
    expect(await reasonsOf(NEAR_4)).not.toBe('');
    await ipOf('link', 'set', 'eth0', 'up');
    // It went with the link.
    await ipOf('address', 'add', `${ME_6}/64`, 'dev', 'eth0', 'nodad');
    await ipOf('route', 'replace', 'default', 'via', NEAR_4);
    await sleep(1_100);
    expect((await ask([NEAR_4, FAR_4])).isReachable).toBe(true);
  });

  test('is asked on, at 40 questions a second, beside pings of others, by the same two sockets', async () => {
    await ask([NEAR_4, NEAR_6]);
    const before = await network.descriptors();
    const ping = ['ping', '-q', '-I', ME_4, '-c', '400', '-i', '0.002', NEAR_4];
    const pings = network.net.exec('d1', ping);
    let answered = 0;
    for (let i = 0; i < 40; i++) {
      const answer = await ask([NEAR_4, NEAR_6], { timeoutMs: 500 });
      if (answer.isReachable) answered++;
      await sleep(25);
    }
    expect((await pings).code).toBe(0);
    expect(answered).toBe(40);
    const after = await network.descriptors();
    expect(after.sockets).toBe(before.sockets);
    expect(after.inheritable).toBe(0);
  });
});
