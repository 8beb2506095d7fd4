/** What every Neighbours does, the fake of the simulator included. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatIp, type IpAddress, parseIp } from '../../src/model/address.ts';
import type { ForeignVoice, ProbeOutcome } from '../../src/ports/neighbours.ts';
import { waitUntil } from './contract-case.ts';

export type Place = { readonly device: string; readonly address: IpAddress };

export type ProbeOptions = {
  readonly count: number;
  readonly intervalMs: number;
  /** Abandons the probe then. */
  readonly abortAfterMs?: number;
};

export type Probe = {
  /** It listens: nothing that is said from now on is missed. */
  readonly begun: Promise<void>;
  readonly outcome: Promise<ProbeOutcome>;
};

export interface NeighboursHarness {
  readonly device: string;
  /** Milliseconds, any zero. */
  now(): number;
  /** Resolves when its ears are as wanted. */
  listen(vips: readonly Place[], withinMs?: number): Promise<void>;
  /** Not settled before the time is advanced, or `settle` is awaited. */
  verify(vip: Place, gateway: IpAddress, timeoutMs: number): Promise<boolean>;
  /** The outcome as of verify. */
  probe(vips: readonly Place[], options: ProbeOptions): Probe;
  /** Somebody else has the address and defends it, or nobody has. */
  setDefender(vip: Place, state: 'there' | 'gone'): Promise<void>;
  settle<T>(promise: Promise<T>): Promise<T>;
  /** All voices since the start. */
  voices(): Promise<readonly ForeignVoice[]>;
  /** A foreign host speaks as the address: gratuitous ARP, or an unsolicited advertisement. */
  speak(voice: ForeignVoice): Promise<void>;
  /** A foreign host probes for the address, as it does before it takes it. */
  probeFrom(mac: string, vip: Place): Promise<void>;
  /** Lets the gateways below answer, or be silent. */
  setGateways(state: 'answering' | 'silent'): Promise<void>;
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

export const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};

export const GATEWAY_4 = ip('10.90.0.1');
export const GATEWAY_6 = ip('fd90::1');
export const FOREIGN_MAC = '02:00:00:00:00:66';
/** Nobody has them; whoever listens to them, too, learns from a voice behind others that he has heard all of these. */
export const CONTROLS = [ip('10.90.0.190'), ip('fd90::190')];
/** Longest usual time between a voice and its report. */
const HEARD_WITHIN_MS = 400;
/** Less than without hurry, and room for a busy machine. */
const AT_ONCE_MS = 75;
/** Voices of which the middle time is judged. */
const SOME = 5;

export function neighboursContract(name: string, create: () => Promise<NeighboursHarness>): void {
  describe(`neighbours contract: ${name}`, () => {
    let harness: NeighboursHarness;
    beforeAll(async () => {
      harness = await create();
    });
    afterAll(() => harness.close());

    const place = (address: IpAddress): Place => ({ device: harness.device, address });
    const v4 = (n: number): Place => place(formatIp(Uint8Array.of(10, 90, 0, n)));
    const v6 = (n: number): Place => place(ip(`fd90::${n}`));
    const voicesOf = async (vip: Place): Promise<readonly ForeignVoice[]> =>
      (await harness.voices()).filter((voice) => voice.address === vip.address);
    const listenTo = (vips: readonly Place[], withinMs?: number): Promise<void> =>
      harness.listen([...vips, ...CONTROLS.map(place)], withinMs);
    /** Until the voice is heard; gives how long that took. */
    const speakUntilHeard = async (vip: Place): Promise<number> => {
      const before = (await voicesOf(vip)).length;
      const from = harness.now();
      await harness.speak({ ...vip, mac: FOREIGN_MAC });
      const isHeard = async () => (await voicesOf(vip)).length > before;
      await waitUntil(harness, isHeard, { stepMs: 2 });
      expect(await isHeard(), `a voice of ${vip.address} is not heard`).toBe(true);
      return harness.now() - from;
    };
    /** Whatever was said until now is heard, or never will be. */
    const hearAll = async (): Promise<void> => {
      for (const control of CONTROLS.map(place)) await speakUntilHeard(control);
    };
    /** Of several: a pause of the machine makes one or two of them long, a slow listener all. */
    const usualTimeOf = async (vip: Place): Promise<number> => {
      const times: number[] = [];
      for (let i = 0; i < SOME; i++) times.push(await speakUntilHeard(vip));
      return times.toSorted((a, b) => a - b)[(SOME - 1) / 2] ?? Number.NaN;
    };

    test('a foreign voice for each VIP that is listened for is heard, of both families', async () => {
      const vips = [v4(100), v4(101), v6(100)];
      await listenTo(vips);
      for (const vip of vips) await harness.speak({ ...vip, mac: FOREIGN_MAC });
      await hearAll();
      for (const vip of vips) expect(await voicesOf(vip)).toEqual([{ ...vip, mac: FOREIGN_MAC }]);
      expect(await usualTimeOf(v4(100))).toBeLessThan(HEARD_WITHIN_MS);
    });

    test('voices are heard at once where that is asked for', async () => {
      const vips = [v4(113), v6(113)];
      await listenTo(vips, 5);
      for (const vip of vips) {
        expect(await usualTimeOf(vip)).toBeLessThan(AT_ONCE_MS);
        expect(await voicesOf(vip)).toEqual(Array(SOME).fill({ ...vip, mac: FOREIGN_MAC }));
      }
      await harness.listen([]);
    });

    test('nothing is heard for other addresses, nor for those no longer listened for', async () => {
      await listenTo([v4(110), v4(111)]);
      await listenTo([v4(111)]);
      for (const vip of [v4(110), v4(112), v6(110), v4(111)])
        await harness.speak({ ...vip, mac: FOREIGN_MAC });
      await hearAll();
      for (const vip of [v4(110), v4(112), v6(110)]) expect(await voicesOf(vip)).toEqual([]);
      expect((await voicesOf(v4(111))).length).toBeGreaterThan(0);
    });

    test('an answering gateway proves the takeover of each of several VIPs', async () => {
      await harness.setGateways('answering');
      const proofs = Promise.all([
        harness.verify(v4(100), GATEWAY_4, 5_000),
        harness.verify(v4(101), GATEWAY_4, 5_000),
        harness.verify(v6(100), GATEWAY_6, 5_000),
      ]);
      expect(await harness.settle(proofs)).toEqual([true, true, true]);
      // Also asked a second time, when the gateway's own address is known.
      expect(await harness.settle(harness.verify(v4(100), GATEWAY_4, 5_000))).toBe(true);
    });

    test('a silent gateway proves nothing, and does not hold up the others', async () => {
      await harness.setGateways('silent');
      const silent = Promise.all([
        harness.verify(v4(100), GATEWAY_4, 100),
        harness.verify(v6(100), GATEWAY_6, 100),
      ]);
      expect(await harness.settle(silent)).toEqual([false, false]);
      await harness.setGateways('answering');
      const both = Promise.all([
        harness.verify(v4(101), GATEWAY_4, 5_000),
        harness.verify(v4(101), ip('10.90.0.2'), 100),
      ]);
      expect(await harness.settle(both)).toEqual([true, false]);
    });

    test('a gateway that begins to answer is noticed, because it is asked again', async () => {
      await harness.setGateways('silent');
      const proof = harness.verify(v4(100), GATEWAY_4, 10_000);
      await harness.advance(60);
      await harness.setGateways('answering');
      expect(await harness.settle(proof)).toBe(true);
    });

    const outcomeOf = async (probe: Probe) => {
      const { answered, unasked } = await harness.settle(probe.outcome);
      return { answered: [...answered].toSorted(), unasked: [...unasked].toSorted() };
    };
    const probed = (vips: readonly Place[], options: ProbeOptions) =>
      outcomeOf(harness.probe(vips, options));
    const SHORT = { count: 4, intervalMs: 50 };

    test('addresses that nobody has are free, of both families', async () => {
      const free = [v4(120), v4(121), v6(120)];
      expect(await probed(free, SHORT)).toEqual({ answered: [], unasked: [] });
    });

    test('those that somebody defends are not, and the others still are', async () => {
      const taken = [v4(122), v6(122)];
      for (const vip of taken) await harness.setDefender(vip, 'there');
      const answered = taken.map(({ address }) => address).toSorted();
      expect(await probed([...taken, v4(121), v6(121)], SHORT)).toEqual({ answered, unasked: [] });
      // Ends at once when all have answered.
      const long = { count: 1_000, intervalMs: 1_000 };
      expect(await probed(taken, long)).toEqual({ answered, unasked: [] });
      for (const vip of taken) await harness.setDefender(vip, 'gone');
      expect(await probed(taken, SHORT)).toEqual({ answered: [], unasked: [] });
    });

    test('whoever announces an address meanwhile has it', async () => {
      const vips = [v4(123), v6(123)];
      // It ends when all have answered.
      const probe = harness.probe(vips, { count: 4, intervalMs: 2_000 });
      await probe.begun;
      for (const vip of vips) await harness.speak({ ...vip, mac: FOREIGN_MAC });
      const answered = vips.map(({ address }) => address).toSorted();
      expect(await outcomeOf(probe)).toEqual({ answered, unasked: [] });
    });

    test('whoever probes for an address at the same time is to be reckoned with, but speaks for nobody', async () => {
      const vips = [v4(126), v6(126)];
      await listenTo(vips, 5);
      const probe = harness.probe([...vips, v4(127)], { count: 4, intervalMs: 500 });
      await probe.begun;
      for (const vip of vips) await harness.probeFrom(FOREIGN_MAC, vip);
      const answered = vips.map(({ address }) => address).toSorted();
      expect(await outcomeOf(probe)).toEqual({ answered, unasked: [] });
      for (const vip of vips) await harness.probeFrom(FOREIGN_MAC, vip);
      await hearAll();
      for (const vip of vips) expect(await voicesOf(vip)).toEqual([]);
      await harness.listen([]);
    });

    test('where nobody could be asked, or not to the end, silence is told apart', async () => {
      const nowhere = { device: 'nowhere0', address: v4(124).address };
      expect(await probed([nowhere, v4(125)], SHORT)).toEqual({
        answered: [],
        unasked: [nowhere.address],
      });
      const soon = { count: 100, intervalMs: 100, abortAfterMs: 150 };
      expect(await probed([v4(125)], soon)).toEqual({
        answered: [],
        unasked: [v4(125).address],
      });
    });

    test('a gateway of the other family, or behind no device, proves nothing', async () => {
      expect(await harness.settle(harness.verify(v4(100), GATEWAY_6, 50))).toBe(false);
      const nowhere = { device: 'nowhere0', address: v4(100).address };
      expect(await harness.settle(harness.verify(nowhere, GATEWAY_4, 50))).toBe(false);
    });
  });
}
