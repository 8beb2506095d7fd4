/** keepalived's event table for real servers, quorum, sorry server and inhibition, row by row, in the kernel. */
import { beforeAll, describe, expect, it } from 'vitest';
import { askHttp, tally } from '../../support/rack-client.ts';
import type { DirectorHost } from '../../support/director-host.ts';
import { PATIENCE_MS, waitFor } from '../../support/processes.ts';
import { CHECK, type RackLab, vipOf } from '../../support/rack-lab.ts';
import { settle } from '../../support/settled.ts';

const PORTS = { sorry: 8080, hysteresis: 8081, inhibit: 8082 } as const;
/** In the memory of each director. */
const EVENTS_FILE = '/run/quorum-events';
const [N1, N2, N3, SORRY] = [21, 22, 23, 24].map((last) => `10.91.0.${last}`);

/** Which of n1, n2, n3 answer, and what the three services have then: `address weight`. */
type Row = {
  readonly event: string;
  readonly up: readonly [boolean, boolean, boolean];
  readonly sorry: readonly string[];
  readonly hysteresis: readonly string[];
  readonly inhibit: readonly string[];
  /** Of the service with hysteresis: what its programs were told last; that it begins with its quorum is no news. */
  readonly told: 'up' | 'down' | null;
  /** Who answers clients of the service with the sorry server. */
  readonly answers: readonly string[];
};

const ROWS: readonly Row[] = [
  {
    event: 'all are up: the inhibited sorry server has weight 0',
    up: [true, true, true],
    sorry: [`${N1} 1`, `${N2} 1`, `${N3} 1`, `${SORRY} 0`],
    hysteresis: [`${N1} 1`, `${N2} 1`, `${N3} 1`],
    inhibit: [`${N1} 1`, `${N2} 1`, `${N3} 1`],
    told: null,
    answers: ['n1', 'n2', 'n3'],
  },
  {
    event: 'one goes, the quorum stays: it is removed, or gets weight 0 where it is inhibited',
    up: [false, true, true],
    sorry: [`${N2} 1`, `${N3} 1`, `${SORRY} 0`],
    hysteresis: [`${N2} 1`, `${N3} 1`],
    inhibit: [`${N1} 0`, `${N2} 1`, `${N3} 1`],
    told: null,
    answers: ['n2', 'n3'],
  },
  {
    event:
      'a quorum is lost: the sorry server comes and those that live go; less than a hysteresis below, it is not',
    up: [false, false, true],
    sorry: [`${SORRY} 1`],
    hysteresis: [`${N3} 1`],
    inhibit: [`${N1} 0`, `${N2} 0`, `${N3} 1`],
    told: null,
    answers: ['sorry'],
  },
  {
    event: 'the quorum is back: they return, and the sorry server gets weight 0',
    up: [true, false, true],
    sorry: [`${N1} 1`, `${N3} 1`, `${SORRY} 0`],
    hysteresis: [`${N1} 1`, `${N3} 1`],
    inhibit: [`${N1} 1`, `${N2} 0`, `${N3} 1`],
    told: null,
    answers: ['n1', 'n3'],
  },
  {
    event: 'none is left',
    up: [false, false, false],
    sorry: [`${SORRY} 1`],
    hysteresis: [],
    inhibit: [`${N1} 0`, `${N2} 0`, `${N3} 0`],
    told: 'down',
    answers: ['sorry'],
  },
  {
    event:
      'the quorum stays lost though two are back, by the hysteresis; without a sorry server they serve',
    up: [true, true, false],
    sorry: [`${N1} 1`, `${N2} 1`, `${SORRY} 0`],
    hysteresis: [`${N1} 1`, `${N2} 1`],
    inhibit: [`${N1} 1`, `${N2} 1`, `${N3} 0`],
    told: 'down',
    answers: ['n1', 'n2'],
  },
  {
    event: 'all are back, and with them each quorum',
    up: [true, true, true],
    sorry: [`${N1} 1`, `${N2} 1`, `${N3} 1`, `${SORRY} 0`],
    hysteresis: [`${N1} 1`, `${N2} 1`, `${N3} 1`],
    inhibit: [`${N1} 1`, `${N2} 1`, `${N3} 1`],
    told: 'up',
    answers: ['n1', 'n2', 'n3'],
  },
];

/** All that the programs of a director may have been told, in this order. */
const TOLD = ['down', 'up'];

export function quorum(rack: () => RackLab): void {
  describe('quorum, sorry server and inhibition', () => {
    beforeAll(async () => {
      const lab = rack();
      await settle(lab);
      const tell = (word: string): readonly string[] => [
        '/bin/sh',
        '-c',
        `echo ${word} >>${EVENTS_FILE}`,
      ];
      const common = {
        group: 'web',
        address: vipOf('nat', 4),
        scheduler: 'rr',
        forward: 'nat',
        check: CHECK,
        realServers: lab.inside.slice(0, 3).map(({ address }) => ({ address })),
      };
      const services = {
        'with-sorry': {
          ...common,
          port: PORTS.sorry,
          quorum: 2,
          sorryServer: { address: SORRY, inhibit: true },
        },
        'with-hysteresis': {
          ...common,
          port: PORTS.hysteresis,
          quorum: { need: 2, hysteresis: 1, up: tell('up'), down: tell('down') },
        },
        'with-inhibit': { ...common, port: PORTS.inhibit, inhibitOnFailure: true },
      };
      await lab.applyAndWait(services);
    });

    for (const row of ROWS)
      it(row.event, async () => {
        const lab = rack();
        await setUp(lab, row.up);
        const wanted = [row.sorry, row.hysteresis, row.inhibit];
        for (const director of lab.directors) {
          const seen = async (): Promise<readonly (readonly string[])[]> => {
            const table = await lab.tableOf(director.name);
            return [PORTS.sorry, PORTS.hysteresis, PORTS.inhibit].map((port) =>
              rowsOf(table, port),
            );
          };
          await waitFor(
            `${director.name} has ${JSON.stringify(wanted)}`,
            async () => JSON.stringify(await seen()) === JSON.stringify(wanted),
            { timeoutMs: PATIENCE_MS, intervalMs: 100 },
          ).catch(async () => expect(await seen()).toEqual(wanted));
        }
        const question = { host: vipOf('nat', 4), port: PORTS.sorry };
        const names = await askHttp(lab.network, question, 6);
        expect(Object.keys(tally(names)).toSorted()).toEqual(row.answers);
        for (const director of lab.directors)
          await waitFor(
            `the programs of ${director.name} were told last: ${row.told}`,
            async () => ((await toldOf(director)).at(-1) ?? null) === row.told,
            { timeoutMs: PATIENCE_MS },
          );
      });

    it('told the programs of every director of each change, once', async () => {
      for (const director of rack().directors) expect(await toldOf(director)).toEqual(TOLD);
    });
  });
}

async function toldOf(director: DirectorHost): Promise<readonly string[]> {
  return (await director.exec(`cat ${EVENTS_FILE}`)).stdout.split('\n').filter(Boolean);
}

async function setUp(lab: RackLab, up: Row['up']): Promise<void> {
  for (const [index, isUp] of up.entries()) {
    const server = lab.inside[index];
    if (server === undefined || server.isRunning() === isUp) continue;
    await (isUp ? server.start() : server.stop());
  }
}

function rowsOf(table: ReadonlyMap<string, readonly string[]>, port: number): readonly string[] {
  const rows = [...table].find(([key]) => key.startsWith(`-t ${vipOf('nat', 4)}:${port} `))?.[1];
  return (rows ?? []).map((row) => row.replace(/^(\S+):\d+ -m -w (\d+)$/, '$1 $2')).toSorted();
}
