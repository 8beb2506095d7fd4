/** The neighbours' contract on the fake and on real networks, and what only real neighbours show. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatIp, type IpAddress, type MacAddress, parseMac } from '../../src/model/address.ts';
import type { ForeignVoice } from '../../src/ports/neighbours.ts';
import { encodeArpRequest, encodeGratuitousArpRequest } from '../../src/wire/arp.ts';
import {
  encodeAddressProbe,
  encodeNeighborSolicitation,
  encodeUnsolicitedAdvertisement,
} from '../../src/wire/ndp.ts';
import { FakeClock } from '../fakes/fake-clock.ts';
import { FakeNeighbours } from '../fakes/fake-neighbours.ts';
import { waitFor } from '../support/processes.ts';
import {
  CONTROLS,
  FOREIGN_MAC,
  GATEWAY_4,
  GATEWAY_6,
  ip,
  neighboursContract,
  type Place,
} from './neighbours.contract.ts';
import { NeighboursNetwork } from './support/neighbours-network.ts';

const DEVICE = 'eth0';
const VIPS = ['10.90.0.100/24', '10.90.0.101/24', 'fd90::100/64'];

/** How often the director reads the interfaces of its host anew, and something more. */
const OWN_MACS_MS = 250;

const mac = (text: string): MacAddress => {
  const parsed = parseMac(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const announcement = ({ address, mac: from }: ForeignVoice): Uint8Array =>
  address.includes(':')
    ? encodeUnsolicitedAdvertisement(mac(from), address, false)
    : encodeGratuitousArpRequest(mac(from), address);

const CONTROL_VOICES = CONTROLS.map((address) => {
  const voice = { device: DEVICE, address, mac: FOREIGN_MAC };
  return { voice, frame: announcement(voice) };
});
const controlPlaces: readonly Place[] = CONTROLS.map((address) => ({ device: DEVICE, address }));

const probe = (from: MacAddress, { address }: Place): Uint8Array =>
  address.includes(':')
    ? encodeAddressProbe(from, address)
    : encodeArpRequest({
        mac: from,
        senderIp: formatIp(new Uint8Array(4)),
        targetIp: address,
        destination: null,
      });

neighboursContract('fake', async () => {
  const clock = new FakeClock();
  let isAnswering = true;
  const defended = new Set<IpAddress>();
  const answering: readonly IpAddress[] = [GATEWAY_4, GATEWAY_6];
  const neighbours = new FakeNeighbours(
    {
      gateway: ({ device, gateway }) =>
        isAnswering && device === DEVICE && answering.includes(gateway) ? 1 : null,
      defender: ({ address }) => (defended.has(address) ? 1 : null),
      isDeaf: (device) => device !== DEVICE,
    },
    { clock },
  );
  const heard: ForeignVoice[] = [];
  const end = new AbortController();
  const voices = neighbours.voices(end.signal);
  void (async () => {
    for await (const voice of voices) heard.push(voice);
  })();
  return {
    device: DEVICE,
    now: () => clock.now(),
    listen: async (vips, withinMs) => neighbours.listen(vips, withinMs),
    verify: (vip, gateway, timeoutMs) => neighbours.verify(vip, gateway, timeoutMs),
    probe: (vips, { abortAfterMs, ...options }) => {
      const end = new AbortController();
      if (abortAfterMs !== undefined) clock.schedule(abortAfterMs, () => end.abort());
      const outcome = neighbours.probe(vips, { ...options, signal: end.signal });
      return { begun: Promise.resolve(), outcome };
    },
    setDefender: async ({ address }, state) => {
      if (state === 'there') defended.add(address);
      else defended.delete(address);
    },
    settle: (promise) => clock.settle(promise),
    voices: async () => heard,
    speak: async (voice) => neighbours.hear(voice),
    probeFrom: async (_, vip) => neighbours.hearProbe(vip),
    setGateways: async (state) => {
      isAnswering = state === 'answering';
    },
    advance: (ms) => clock.advance(ms),
    close: async () => {
      end.abort();
      neighbours.close();
    },
  };
});

neighboursContract('AF_PACKET in a network namespace', async () => {
  const network = await NeighboursNetwork.start(VIPS);
  return {
    device: DEVICE,
    now: () => network.ranMs(),
    listen: async (vips, withinMs) => {
      await network.command({
        op: 'listen',
        vips,
        ...(withinMs === undefined ? {} : { withinMs }),
      });
    },
    verify: (vip, gateway, timeoutMs) => network.command({ op: 'verify', vip, gateway, timeoutMs }),
    probe: (vips, options) => network.probe(vips, options),
    setDefender: async ({ address }, state) => {
      const words = state === 'there' ? ['add'] : ['del'];
      const nodad = state === 'there' && address.includes(':') ? ['nodad'] : [];
      await network.net.execOk('gw', ['ip', 'address', ...words, address, 'dev', DEVICE, ...nodad]);
    },
    settle: (promise) => promise,
    voices: async () => network.voices,
    speak: (voice) => network.send(announcement(voice)),
    probeFrom: (from, vip) => network.send(probe(mac(from), vip)),
    setGateways: (state) =>
      state === 'answering' ? network.net.heal() : network.net.cut('d1', 'gw'),
    advance: (ms) => sleep(ms),
    close: () => network.close(),
  };
});

describe('neighbours on a real network', () => {
  let network: NeighboursNetwork;
  const vip4: Place = { device: DEVICE, address: ip('10.90.0.100') };
  const vip6: Place = { device: DEVICE, address: ip('fd90::100') };
  beforeAll(async () => {
    network = await NeighboursNetwork.start(VIPS);
    const vips = [vip4, vip6, ...controlPlaces];
    await network.command({ op: 'listen', vips, withinMs: 200 });
  });
  afterAll(() => network.close());

  const voicesAfter = (action: () => Promise<void>): Promise<readonly ForeignVoice[]> =>
    network.voicesAfter(action, CONTROL_VOICES);

  test('the gateway that answered has moved the VIP in its table', async () => {
    const own = await network.macOf('d1');
    for (const [vip, gateway] of [
      [vip4, GATEWAY_4],
      [vip6, GATEWAY_6],
    ] as const) {
      const entry = ['to', vip.address, 'lladdr', FOREIGN_MAC, 'dev', DEVICE, 'nud', 'reachable'];
      await network.net.execOk('gw', ['ip', 'neigh', 'replace', ...entry]);
      expect(await network.command({ op: 'verify', vip, gateway, timeoutMs: 5_000 })).toBe(true);
      const table = await network.net.execOk('gw', ['ip', 'neigh', 'show', 'to', vip.address]);
      expect(table).toContain(`lladdr ${own}`);
    }
  });

  test('whoever asks in the name of the VIP speaks as it; whoever asks for it does not', async () => {
    const from = mac(FOREIGN_MAC);
    const other = ip('10.90.0.77');
    const zero = formatIp(new Uint8Array(4));
    const unspecified = formatIp(new Uint8Array(16));
    const asksFor = await voicesAfter(async () => {
      const to = { mac: from, targetIp: vip4.address, destination: null };
      await network.send(encodeArpRequest({ ...to, senderIp: other }));
      await network.send(encodeArpRequest({ ...to, senderIp: zero }));
      for (const source of [ip('fd90::77'), unspecified])
        await network.send(encodeNeighborSolicitation({ mac: from, source, target: vip6.address }));
    });
    expect(asksFor).toEqual([]);
    const asksAs = await voicesAfter(async () => {
      const as = { mac: from, senderIp: vip4.address, destination: null };
      await network.send(encodeArpRequest({ ...as, targetIp: other }));
      const target = GATEWAY_6;
      await network.send(encodeNeighborSolicitation({ mac: from, source: vip6.address, target }));
    });
    expect(asksAs).toEqual([
      { ...vip4, mac: FOREIGN_MAC },
      { ...vip6, mac: FOREIGN_MAC },
    ]);
  });

  test('frames with the MAC of any interface of this host are no voices', async () => {
    await network.net.execOk('d1', ['ip', 'link', 'add', 'other0', 'type', 'bridge']);
    const own = [await network.macOf('d1'), await network.macOf('d1', 'other0')];
    await sleep(OWN_MACS_MS);
    const heard = await voicesAfter(async () => {
      for (const each of own)
        for (const vip of [vip4, vip6]) await network.send(announcement({ ...vip, mac: each }));
    });
    expect(heard).toEqual([]);
  });

  test('thousands of frames of others stay in the kernel: a voice right behind them is heard', async () => {
    const chatter = { senderIp: ip('10.90.0.77'), targetIp: ip('10.90.0.78'), destination: null };
    const heard = await voicesAfter(async () => {
      await network.send(encodeArpRequest({ ...chatter, mac: mac(FOREIGN_MAC) }), 5_000);
      await network.send(
        encodeUnsolicitedAdvertisement(mac(FOREIGN_MAC), ip('fd90::77'), false),
        5_000,
      );
      for (const vip of [vip4, vip6])
        await network.send(announcement({ ...vip, mac: FOREIGN_MAC }));
    });
    expect(heard).toEqual([
      { ...vip4, mac: FOREIGN_MAC },
      { ...vip6, mac: FOREIGN_MAC },
    ]);
  });

  test('an interface that was removed and made anew is listened to again', async () => {
    const { net } = network;
    const own = net.namespaceOf('d1');
    const port = ['ip', '-n', net.switchNamespace, 'link'];
    await net.execOk('d1', ['ip', 'link', 'delete', DEVICE]);
    const shell = (line: string): Promise<string> => net.execOk('gw', ['sh', '-c', line]);
    await shell(`${port.join(' ')} add p-d1 type veth peer name ${DEVICE} netns ${own}`);
    await shell(`${port.join(' ')} set p-d1 master br0 up`);
    await net.execOk('d1', ['ip', 'link', 'set', DEVICE, 'up']);
    await network.net.untilConnected();
    await network.untilListening(DEVICE);
    const heard = await voicesAfter(() =>
      network.send(announcement({ ...vip4, mac: FOREIGN_MAC })),
    );
    expect(heard).toEqual([{ ...vip4, mac: FOREIGN_MAC }]);
  });
});

describe.each(['netdev', 'arp-inet-ip6'] as const)(
  'probes of VIPs that the gate of this director silences (%s)',
  (kind) => {
    let network: NeighboursNetwork;
    const vips = VIPS.map((cidr) => ({ device: DEVICE, address: ip(cidr.split('/')[0] ?? '') }));
    const vip4 = vips[0] ?? { device: DEVICE, address: ip('10.90.0.100') };
    const vip6 = { device: DEVICE, address: ip('fd90::100') };
    const OPTIONS = { count: 4, intervalMs: 250 };
    beforeAll(async () => {
      // The VIPs are bound, as they are ahead of a takeover; only the rules silence them.
      network = await NeighboursNetwork.start([...VIPS, '10.90.0.11/24', 'fd90::11/64']);
      const index = Number(await network.net.execOk('d1', ['cat', '/sys/class/net/eth0/ifindex']));
      const device = { index, name: DEVICE };
      expect(await network.command({ op: 'fence', fence: kind, device, vips })).toBe(true);
    });
    afterAll(() => network.close());

    /** It ends when all have answered: a frame that is late is heard all the same. */
    const PATIENT = { count: 4, intervalMs: 2_000 };
    const answeredTo = async (
      asked: readonly Place[],
      frames: readonly Uint8Array[] = [],
      options = OPTIONS,
    ) => {
      const { begun, outcome } = network.probe(asked, options);
      await begun;
      for (const frame of frames) await network.send(frame);
      const { answered, unasked } = await outcome;
      expect([...unasked]).toEqual([]);
      return [...answered].toSorted();
    };
    const both = [vip4.address, vip6.address].toSorted();

    test('are silent here, as who asks for them sees', async () => {
      for (const { address } of [vip4, vip6]) {
        const ping = ['ping', '-c', '1', '-W', '0.3', address];
        expect((await network.net.exec('gw', ping)).code).not.toBe(0);
      }
      const other = ['ping', '-c', '1', '-W', '2', '10.90.0.11'];
      expect((await network.net.exec('gw', other)).code).toBe(0);
    });

    test('find nobody where there is nobody, though the addresses are bound here', async () => {
      expect(await answeredTo(vips)).toEqual([]);
    });

    test('are answered by who has them', async () => {
      for (const { address } of [vip4, vip6]) {
        const nodad = address.includes(':') ? ['nodad'] : [];
        await network.net.execOk('gw', ['ip', 'address', 'add', address, 'dev', DEVICE, ...nodad]);
      }
      expect(await answeredTo(vips)).toEqual(both);
      for (const { address } of [vip4, vip6])
        await network.net.execOk('gw', ['ip', 'address', 'del', address, 'dev', DEVICE]);
    });

    test('hear announcements, also in the form of requests', async () => {
      const frames = [vip4, vip6].map((vip) => announcement({ ...vip, mac: FOREIGN_MAC }));
      expect(await answeredTo([vip4, vip6], frames, PATIENT)).toEqual(both);
    });

    test('hear the probes of others, which the rules hide from this host', async () => {
      const frames = [vip4, vip6].map((vip) => probe(mac(FOREIGN_MAC), vip));
      expect(await answeredTo([vip4, vip6], frames, PATIENT)).toEqual(both);
    });

    test('take no client that asks for a VIP for its holder', async () => {
      const from = mac(FOREIGN_MAC);
      const asks = { mac: from, senderIp: ip('10.90.0.77'), targetIp: vip4.address };
      const frames = [
        encodeArpRequest({ ...asks, destination: null }),
        encodeNeighborSolicitation({ mac: from, source: ip('fd90::77'), target: vip6.address }),
      ];
      expect(await answeredTo(vips, frames)).toEqual([]);
    });
  },
);

describe('two directors on one network', () => {
  let network: NeighboursNetwork;
  const vips = VIPS.map((cidr) => ({ device: DEVICE, address: ip(cidr.split('/')[0] ?? '') }));
  const all = vips.map(({ address }) => address).toSorted();
  const OPTIONS = { count: 4, intervalMs: 250 };
  /** It lasts until something else has happened. */
  const LONG = { count: 2, intervalMs: 2_000 };
  beforeAll(async () => {
    network = await NeighboursNetwork.start(['10.90.0.11/24', 'fd90::11/64']);
    await network.addDirector('d2', ['10.90.0.12/24', 'fd90::12/64']);
    await network.net.untilConnected();
  });
  afterAll(() => network.close());

  const bind = async (host: string, action: 'add' | 'del'): Promise<void> => {
    for (const cidr of VIPS) {
      const nodad = action === 'add' && cidr.includes(':') ? ['nodad'] : [];
      await network.net.execOk(host, ['ip', 'address', action, cidr, 'dev', DEVICE, ...nodad]);
    }
  };
  const probeBoth = async (): Promise<readonly (readonly IpAddress[])[]> => {
    const outcomes = await Promise.all(
      ['d1', 'd2'].map((director) => network.probe(vips, OPTIONS, director).outcome),
    );
    for (const { unasked } of outcomes) expect([...unasked]).toEqual([]);
    return outcomes.map(({ answered }) => [...answered].toSorted());
  };

  test('that probe the same VIPs at once both learn of it', async () => {
    expect(await probeBoth()).toEqual([all, all]);
  });

  test('do so, too, where both have the VIPs bound, and rules silence them', async () => {
    for (const director of ['d1', 'd2']) {
      await bind(director, 'add');
      const index = Number(
        await network.net.execOk(director, ['cat', '/sys/class/net/eth0/ifindex']),
      );
      const device = { index, name: DEVICE };
      const fence = { op: 'fence', fence: 'netdev', device, vips } as const;
      expect(await network.command(fence, director)).toBe(true);
    }
    expect(await probeBoth()).toEqual([all, all]);
    for (const director of ['d1', 'd2']) {
      await network.net.execOk(director, ['nft', 'flush', 'ruleset']);
      await bind(director, 'del');
    }
  });

  test('one of which holds the VIPs: it hears no voice of who probes, and its kernel answers him', async () => {
    await bind('d1', 'add');
    await network.command({ op: 'listen', vips: [...vips, ...controlPlaces], withinMs: 5 });
    const voices = await network.voicesAfter(async () => {
      const { answered, unasked } = await network.probe(vips, OPTIONS, 'd2').outcome;
      expect([[...answered].toSorted(), [...unasked]]).toEqual([all, []]);
    }, CONTROL_VOICES);
    expect(voices).toEqual([]);
    await network.command({ op: 'listen', vips: [], withinMs: 200 });
    await bind('d1', 'del');
  });

  test('one of which is Linux that detects duplicates before it takes an address', async () => {
    const vip6 = { device: DEVICE, address: ip('fd90::100') };
    const conf = `net.ipv6.conf.${DEVICE}`;
    const detection = [`${conf}.accept_dad=1`, `${conf}.router_solicitation_delay=0`];
    await network.net.execOk('d2', ['sysctl', '-qw', ...detection]);
    // It ends with the answer, before its second question: only the detection itself is heard.
    const { begun, outcome } = network.probe([vip6], { count: 2, intervalMs: 5_000 });
    await begun;
    const address = ['fd90::100/64', 'dev', DEVICE];
    await network.net.execOk('d2', ['ip', 'address', 'add', ...address]);
    const { answered, unasked } = await outcome;
    expect([[...answered], [...unasked]]).toEqual([[vip6.address], []]);
    await network.net.execOk('d2', ['ip', 'address', 'del', ...address]);
  });

  test('hear what is sent to the groups of addresses that are not bound, while they probe', async () => {
    const vip6 = { device: DEVICE, address: ip('fd90::12:3456') };
    const groups = (): Promise<string> =>
      network.net.execOk('d1', ['ip', '-6', 'maddress', 'show', 'dev', DEVICE]);
    expect(await groups()).not.toContain('ff02::1:ff12:3456');
    const { begun, outcome } = network.probe([vip6], LONG);
    await begun;
    expect(await groups()).toContain('ff02::1:ff12:3456');
    expect([...(await outcome).answered]).toEqual([]);
    const isLeft = async () => !(await groups()).includes('ff02::1:ff12:3456');
    await waitFor('the group is left', isLeft, { timeoutMs: 10_000, intervalMs: 10 });
  });

  test('one of which had no link for a moment: silence proves nothing to it', async () => {
    const { begun, outcome } = network.probe(vips, LONG);
    await begun;
    const link = (state: string): string => `ip link set ${DEVICE} ${state}`;
    await network.net.execOk('d1', ['sh', '-c', `${link('down')} && ${link('up')}`]);
    expect([...(await outcome).unasked].toSorted()).toEqual(all);
  });
});
