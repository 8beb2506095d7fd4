/**
 * Runs inside a network namespace of its own: the contract of the table of marks on Linux, and what only
 * Linux shows: nft's view of it, and the marks of real packets. Writes the results as JSON to standard output.
 */
import assert from 'node:assert/strict';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { createSystemClock } from '../../../src/adapters/clock/system-clock.ts';
import { runUninstallGate } from '../../../src/uninstall-process.ts';
import { createNftMarks, uninstallMarks } from '../../../src/adapters/linux/nft-marks.ts';
import { silentLog } from '../../../src/ports/log.ts';
import { runCases, type ContractCase } from '../contract-case.ts';
import {
  entriesOf,
  entry,
  marksCases,
  type MarksWorld,
  SHOP,
  succeeded,
  textsOf,
} from '../marks.contract.ts';
import { destinationOptions, MarksNetwork, sh, VIP4, VIP6 } from './marks-network.ts';

const ports = { log: silentLog, clock: createSystemClock() };
const TABLE = 'inet leasehold-marks';
const TCP = 6;
const SCTP = 132;

async function createWorld(): Promise<{ world: MarksWorld; end: () => Promise<void> }> {
  const marks = createNftMarks(ports);
  const world: MarksWorld = {
    marks,
    successor: () => createNftMarks(ports),
    flush: async () => void sh('nft flush ruleset'),
    alter: async () => void sh(`nft flush chain ${TABLE} input`),
    advance: (ms) => sleep(ms),
    settle: async () => {
      await sleep(50);
      // The timer may be late: the sockets are read between one of these and the next.
      for (let turn = 0; turn < 200; turn++) await setImmediate();
    },
  };
  return {
    world,
    end: async () => {
      marks.close();
      sh('nft flush ruleset');
    },
  };
}

/** With the client, the VIPs and the observer. */
async function withNetwork(act: (network: MarksNetwork) => Promise<void>): Promise<void> {
  const network = new MarksNetwork();
  try {
    await network.up();
    await act(network);
  } finally {
    network.down();
  }
}

const SHOWN = `table inet leasehold-marks {
	map marks4 {
		type ipv4_addr . inet_proto . inet_service : mark
		flags interval
		elements = { 10.90.0.100 . tcp . 80 comment "shop" : 0x00000007,
			     10.90.0.100 . tcp . 443 comment "shop" : 0x00000007,
			     10.90.0.100 . udp . 443 comment "shop" : 0x00000007,
			     10.90.0.101 . tcp . 8000-8010 comment "ranges" : 0xffffffff,
			     10.90.0.101 . udp . 0-65535 comment "every-port" : 0x80000000 }
	}

	map marks6 {
		type ipv6_addr . inet_proto . inet_service : mark
		flags interval
		elements = { fd90::100 . sctp . 80 comment "shop6" : 0x00000008,
			     fd90::100 . tcp . 81-90 comment "shop6" : 0x00000008 }
	}

	chain input {
		type filter hook input priority mangle; policy accept;
		meta mark set ip daddr . meta l4proto . th dport map @marks4 comment "leasehold HASH"
		meta mark set ip6 daddr . meta l4proto . th dport map @marks6 comment "leasehold HASH"
	}

	chain output {
		type filter hook output priority mangle; policy accept;
		meta mark set ip daddr . meta l4proto . th dport map @marks4 comment "leasehold HASH"
		meta mark set ip6 daddr . meta l4proto . th dport map @marks6 comment "leasehold HASH"
	}
}
`;

const linuxCases: readonly ContractCase<MarksWorld>[] = [
  {
    name: 'nft shows who is marked, with what, and for whom',
    run: async ({ marks }) => {
      succeeded(await marks.replace(SHOP));
      const shown = sh(`nft list table ${TABLE}`).replaceAll(
        /leasehold [0-9a-f]{16}/g,
        'leasehold HASH',
      );
      assert.equal(shown, SHOWN);
      // What nft shows it can load: nothing of it is beyond its words.
      sh(`t=$(nft list table ${TABLE}); nft delete table ${TABLE}; echo "$t" | nft -f -`);
      assert.match(sh(`nft list table ${TABLE}`), /10\.90\.0\.100 \. tcp \. 443 comment "shop"/);
    },
  },
  {
    name: 'packets of a client are marked by address, protocol and port, and no others',
    run: async ({ marks }) =>
      withNetwork(async (network) => {
        succeeded(
          await marks.replace([
            entry(`tcp ${VIP4} 80 7 shop`),
            entry(`tcp ${VIP4} 443 7 shop`),
            entry(`udp ${VIP4} 443 4294967295 shop`),
            entry(`tcp ${VIP4} 8000-8010 9 ranges`),
            entry(`sctp ${VIP4} 80 10 signals`),
            entry(`tcp ${VIP6} 80 11 shop6`),
            entry(`udp ${VIP6} 0-65535 12 all6`),
            entry(`sctp ${VIP6} 80 13 signals6`),
          ]),
        );
        for (const port of [79, 80, 81, 443, 7999, 8000, 8005, 8010, 8011])
          network.connect('client', VIP4, port);
        for (const port of [80, 443]) network.datagram('client', VIP4, port);
        network.raw('ipv4', SCTP, 80);
        network.raw('ipv4', SCTP, 81);
        for (const port of [80, 443]) network.connect('client', VIP6, port);
        for (const port of [1, 53]) network.datagram('client', VIP6, port);
        network.raw('ipv6', SCTP, 80);
        await network.sees('input4', [
          'sctp 80 10',
          'sctp 81 0',
          'tcp 443 7',
          'tcp 79 0',
          'tcp 7999 0',
          'tcp 80 7',
          'tcp 8000 9',
          'tcp 8005 9',
          'tcp 8010 9',
          'tcp 8011 0',
          'tcp 81 0',
          'udp 443 4294967295',
          'udp 80 0',
        ]);
        await network.sees('input6', [
          'sctp 80 13',
          'tcp 443 0',
          'tcp 80 11',
          'udp 1 12',
          'udp 53 12',
        ]);
      }),
  },
  {
    name: 'fragments and extension headers are seen through',
    run: async ({ marks }) =>
      withNetwork(async (network) => {
        succeeded(
          await marks.replace([entry(`udp ${VIP4} 443 7 shop`), entry(`tcp ${VIP6} 80 8 shop6`)]),
        );
        network.datagram('client', VIP4, 443, 3500);
        network.raw('ipv6', TCP, 80, destinationOptions(TCP));
        await network.sees('input4', ['udp 443 7']);
        await network.sees('input6', ['tcp 80 8']);
      }),
  },
  {
    name: 'what the director itself sends to its VIPs is marked where IPVS looks for it',
    run: async ({ marks }) =>
      withNetwork(async (network) => {
        succeeded(
          await marks.replace([entry(`tcp ${VIP4} 80 7 shop`), entry(`udp ${VIP6} 443 8 shop6`)]),
        );
        network.connect('director', VIP4, 80);
        network.connect('director', VIP4, 81);
        network.datagram('director', VIP6, 443);
        const isAsked = (each: string): boolean => /^tcp 8[01] /.test(each);
        await network.sees('output4', ['tcp 80 7', 'tcp 81 0'], isAsked);
        await network.sees('output6', ['udp 443 8']);
      }),
  },
  {
    name: 'marks of others stay on all packets but those that are asked for',
    run: async ({ marks }) =>
      withNetwork(async (network) => {
        sh('nft add table inet others');
        sh("nft 'add chain inet others pre { type filter hook prerouting priority mangle; }'");
        sh('nft add rule inet others pre meta mark set 0xab00');
        succeeded(await marks.replace([entry(`tcp ${VIP4} 80 7 shop`)]));
        network.connect('client', VIP4, 80);
        network.connect('client', VIP4, 81);
        // IPVS compares the whole mark: a bit that is left would make it find no service.
        await network.sees('input4', ['tcp 80 7', `tcp 81 ${0xab00}`]);
        succeeded(await marks.remove());
        network.connect('client', VIP4, 80);
        await network.sees('input4', [`tcp 80 ${0xab00}`]);
      }),
  },
  {
    name: 'while others come and go, no packet misses a mark that stays',
    run: async ({ marks }) =>
      withNetwork(async (network) => {
        const stays = entry(`udp ${VIP4} 443 7 shop`);
        const comes = [
          entry(`udp ${VIP4} 1000-2000 8 other`),
          entry(`tcp ${VIP4} 443 7 shop`),
          entry(`udp ${VIP6} 443 8 shop6`),
        ];
        succeeded(await marks.replace([stays]));
        const client = network.talk(VIP4, 443);
        try {
          for (let i = 0; i < 200 || client.said() < 1000; i++) {
            assert.ok(i < 20_000, 'the client says too little');
            succeeded(await marks.change({ add: comes, remove: [] }));
            succeeded(await marks.change({ add: [], remove: comes }));
            // The calls wait for nothing: what the client says is read in between.
            await setImmediate();
          }
        } finally {
          await client.end();
        }
        // Nobody listens: its end is the answer to a packet behind all of them.
        network.connect('client', VIP4, 9);
        await network.sees('input4', ['tcp 9 0', 'udp 443 7']);
      }),
  },
  {
    name: 'whatever somebody changes in the table is seen and made good',
    run: async ({ marks }) => {
      const harms = [
        `nft flush chain ${TABLE} output`,
        `nft insert rule ${TABLE} input counter accept`,
        `nft add rule ${TABLE} output meta mark set 0`,
        `nft delete chain ${TABLE} input`,
        `nft 'chain ${TABLE} input { policy drop; }'`,
        `nft add chain ${TABLE} strange`,
        `nft 'add set ${TABLE} strange { type ipv4_addr; }'`,
        `nft 'add table ${TABLE} { flags dormant; }'`,
        `nft 'delete element ${TABLE} marks4 { 10.90.0.100 . tcp . 80 }'`,
        `nft 'add element ${TABLE} marks4 { 10.90.0.100 . tcp . 81 : 7 }'`,
        `nft 'add element ${TABLE} marks4 { 10.90.0.0/24 . tcp . 82 comment "x" : 7 }'`,
        `nft 'add element ${TABLE} marks6 { fd90::1 . tcp . 82 comment "x" : 7 }'`,
        `nft 'flush map ${TABLE} marks6'`,
        `nft 'delete table ${TABLE}'`,
      ];
      for (const harm of harms) {
        succeeded(await marks.replace(SHOP));
        sh(harm);
        const seen = succeeded(await marks.observe());
        const isAsWanted =
          seen?.isIntact === true &&
          JSON.stringify(textsOf(seen.entries)) === JSON.stringify(textsOf(SHOP));
        assert.equal(isAsWanted, false, harm);
        succeeded(await marks.replace(SHOP));
        assert.deepEqual(await entriesOf(marks), textsOf(SHOP), harm);
        assert.match(sh(`nft list chain ${TABLE} input`), /policy accept/);
      }
    },
  },
  {
    name: 'tables of others are left alone, also those of our name in another family',
    run: async ({ marks }) => {
      sh('nft add table ip leasehold-marks; nft add chain ip leasehold-marks input');
      sh(
        'nft add table netdev leasehold; nft add table inet other; nft add chain inet other input',
      );
      const before = sh('nft list ruleset');
      assert.equal(succeeded(await marks.observe()), null);
      succeeded(await marks.replace(SHOP));
      succeeded(await marks.replace([]));
      succeeded(await marks.remove());
      assert.equal(sh('nft list ruleset'), before);
    },
  },
  {
    name: 'the removal of all finds the table of a process that is gone',
    run: async ({ marks }) => {
      succeeded(await marks.replace(SHOP));
      assert.equal(succeeded(await uninstallMarks(ports)), true);
      assert.equal(succeeded(await uninstallMarks(ports)), false);
      assert.equal(sh('nft list tables'), '');
    },
  },
  {
    name: 'a machine that is no director any more keeps no marks',
    run: async ({ marks }) => {
      const said: string[] = [];
      const say = (text: string): void => void said.push(text);
      const uninstall = () =>
        runUninstallGate({ file: null, clock: ports.clock, stdout: say, stderr: say });
      succeeded(await marks.replace(SHOP));
      sh('nft add table inet other');
      assert.equal(await uninstall(), 0);
      assert.deepEqual(said.splice(0), [
        'no gate was installed here\n',
        'the table of firewall marks was removed\n',
      ]);
      assert.equal(sh('nft list tables'), 'table inet other\n');
      assert.equal(await uninstall(), 0);
      assert.deepEqual(said, ['no gate was installed here\n']);
    },
  },
];

const results = await runCases<MarksWorld>([...marksCases, ...linuxCases], createWorld);
process.stdout.write(JSON.stringify(results));
