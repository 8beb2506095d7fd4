/** `export ipvsadm` and `import ipvsadm`: the way there and back, and what does not go. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseClusterText } from '../../../src/config/cluster-document.ts';
import { formatIpvsadm } from '../../../src/config/ipvsadm-format.ts';
import { importIpvsadm } from '../../../src/config/ipvsadm-import.ts';
import { parseIpvsadm } from '../../../src/config/ipvsadm-parse.ts';
import { deriveWholeTable } from '../../../src/core/desired/whole-table.ts';
import { familyOf } from '../../../src/model/address.ts';
import { familyOfKey } from '../../../src/model/cluster.ts';
import type { DesiredService, IpvsDestination, IpvsService } from '../../../src/model/kernel.ts';
import { equalDesiredService } from '../../../src/core/plan/ipvs-plan.ts';
import { formatYaml } from '../../../src/config/format-yaml.ts';
import { ipvsDestination, ipvsService } from '../../support/ipvs-arbitraries.ts';
import { applyDocument } from '../api/bench.ts';
import { runCli, startRig } from './harness.ts';

const SAVED = readFileSync(join(import.meta.dirname, '../../fixtures/ipvsadm/Sn.txt'), 'utf8');
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'leasehold-ipvsadm-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const DIRECTORS = '--director d1=10.90.0.11 --director d2=10.90.0.12';
const run = (argv: string, stdin = SAVED) =>
  runCli(argv.split(' '), { readStdin: async () => stdin });

/** Those that the kernel would take, each once. */
function fitting(
  { key }: IpvsService,
  destinations: readonly IpvsDestination[],
): readonly IpvsDestination[] {
  const isPlain = (one: IpvsDestination): boolean => familyOf(one.address) === familyOfKey(key);
  const taken = destinations
    .filter((one) => isPlain(one) && one.lowerThreshold <= one.upperThreshold)
    .map((one) =>
      one.forward === 'nat' ? one : { ...one, port: key.kind === 'fwmark' ? 0 : key.port },
    );
  return [...new Map(taken.map((one) => [one.address, one])).values()];
}

describe('import ipvsadm', () => {
  it('makes a document that means the very same table', async () => {
    const { code, out, err } = await run(`import ipvsadm - ${DIRECTORS}`);
    expect(code, err).toBe(0);
    const parsed = parseClusterText(out);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    expect(formatIpvsadm(deriveWholeTable(parsed.value.spec), 'save')).toBe(SAVED);
    expect(err).toContain('13 services and 10 real servers; by hand:');
  });

  it('says what to add by hand, also in the document', async () => {
    const { out, err } = await run('import ipvsadm -');
    for (const text of [out, err]) {
      expect(text).toContain('directors: each with its name and address');
      expect(text).toContain('the prefix of each VIP');
      expect(text).toContain('marks of fwmark-7, fwmark-2147483649-inet6');
      expect(text).toContain('one real server has weight 0');
      // A table that keepalived made has no real server that was down then.
      expect(text).toContain('those that were down are not in it');
    }
    expect(out).toContain('directors: {}');
    const judged = parseClusterText(out);
    expect(judged.ok ? [] : judged.error.map(({ path }) => path)).toEqual(['directors']);
  });

  it('writes a new file, and never over one', async () => {
    const file = join(dir, 'cluster.yaml');
    const first = await run(`import ipvsadm - --output ${file} ${DIRECTORS} --group web`);
    expect(first).toMatchObject({ code: 0, out: '' });
    expect(parseClusterText(readFileSync(file, 'utf8')).ok).toBe(true);
    writeFileSync(file, 'mine');
    const second = await run(`import ipvsadm - --output ${file}`);
    expect(second).toMatchObject({ code: 2, out: '' });
    expect(second.err).toContain('is there already');
    expect(readFileSync(file, 'utf8')).toBe('mine');
  });

  it('tells every line that it cannot take, with its number, and writes nothing', async () => {
    const file = join(dir, 'none.yaml');
    const text = [
      '-A -t 10.90.0.100:http -s wlc',
      '-A -t 10.90.0.100:81 -s fancy',
      '-A -t 10.90.0.100:82 -s rr',
      '-a -t 10.90.0.100:82 -r 10.90.0.21:82 -g -w 70000000000',
      '--set 900 120 300',
      'nonsense',
    ].join('\n');
    const { code, out, err } = await run(`import ipvsadm - -o ${file}`, text);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err.split('\n').slice(0, -1)).toEqual([
      'standard input: 5 problems',
      expect.stringMatching(/^line 1: .*"http" is no port/),
      expect.stringMatching(/^line 2: scheduler "fancy" is not known/),
      expect.stringMatching(/^line 4: .*-w 70000000000/),
      expect.stringMatching(/^line 5: .*ipvs.timeouts/),
      expect.stringMatching(/^line 6: /),
    ]);
    expect(() => readFileSync(file)).toThrow('ENOENT');
  });

  it('tells lines that ipvsadm takes and a document does not', async () => {
    const text = [
      '# a comment',
      '-A -t 10.90.0.100:81 -s fancy',
      '-A -u 10.90.0.100:5060 -s rr -p 60 --pe other',
    ].join('\n');
    const { code, err } = await run('import ipvsadm -', text);
    expect(code).toBe(2);
    expect(err).toMatch(/^line 2: scheduler "fancy" is not known \(allowed: rr wrr/m);
    expect(err).toMatch(/^line 3: persistence engine "other" is not known/m);
    const rule = await run(
      'import ipvsadm -',
      '-A -t 10.90.0.100:80 -s rr\n-a -t 10.90.0.100:80 -r 10.90.0.100:80 -g -w 1\n',
    );
    expect(rule.code).toBe(2);
    expect(rule.err).toMatch(/^line 2: address: /m);
  });

  it('leaves out the ports that say nothing: those of a firewall mark with dr or a tunnel', async () => {
    const text = [
      '-A -f 7 -s rr',
      '-a -f 7 -r 10.90.0.21:80 -g -w 1',
      '-a -f 7 -r 10.90.0.22:8080 -m -w 1',
    ];
    const { code, out, err } = await run(`import ipvsadm - ${DIRECTORS}`, text.join('\n'));
    expect(code, err).toBe(0);
    expect(err).toContain('1 service and 2 real servers; by hand:');
    expect(err).toContain('ports of the real servers of fwmark-7 are left out');
    // Its VIPs are still to be told.
    const parsed = parseClusterText(out.replace('addresses: []', 'addresses: [10.90.0.100/32]'));
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    expect(formatIpvsadm(deriveWholeTable(parsed.value.spec), 'save')).toBe(
      '-A -f 7 -s rr\n-a -f 7 -r 10.90.0.21:0 -g -w 1\n-a -f 7 -r 10.90.0.22:8080 -m -w 1\n',
    );
    // Two names for one.
    const twice = await run(
      'import ipvsadm -',
      `${text[0]}\n${text[1]}\n-a -f 7 -r 10.90.0.21:443 -g`,
    );
    expect(twice.code).toBe(2);
    expect(twice.err).toMatch(/^line 3: /m);
  });

  it('takes tens of thousands of lines', async () => {
    const lines = Array.from({ length: 400 }, (_, i) => {
      const vip = `10.1.${i >> 8}.${i & 255}:80`;
      const servers = Array.from(
        { length: 50 },
        (__, n) => `-a -t ${vip} -r 10.2.${n}.${i % 250}:80 -g -w ${n + 1}`,
      );
      return [`-A -t ${vip} -s wlc`, ...servers].join('\n');
    });
    const { code, out, err } = await run(`import ipvsadm - ${DIRECTORS}`, lines.join('\n'));
    expect(code, err).toBe(0);
    expect(err).toContain('400 services and 20000 real servers');
    // A group has room for 200 VIPs.
    expect(err).toContain('groups imported, imported-2: a group has 200 addresses at most');
    const parsed = parseClusterText(out);
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error.slice(0, 3)));
    expect(parsed.value.spec.groups.map(({ addresses }) => addresses.length)).toEqual([200, 200]);
    expect(parsed.value.spec.services.at(-1)?.group).toBe('imported-2');
    const long = lines
      .join('\n')
      .replaceAll(/10\.(\d+)\.(\d+)\.(\d+):/g, '[2001:db8:aaaa:bbbb:cccc:1$1:1$2:1$3]:');
    const wide = [80, 81, 82, 83].map((port) => long.replaceAll(']:80', `]:${port}`));
    const large = await run(`import ipvsadm - ${DIRECTORS}`, wide.join('\n'));
    expect(large).toMatchObject({ code: 2, out: '' });
    expect(large.err).toMatch(
      /1600 services and 80000 real servers make a document of \d+ characters/,
    );
  }, 60_000);

  it('refuses what is no such text, and options that are none', async () => {
    expect((await run('import ipvsadm -', '')).err).toContain('names no service');
    expect((await run('import ipvsadm - --group a/b')).err).toContain('--group: "a/b" is no name');
    expect((await run('import ipvsadm - --director d1')).err).toContain('d1=10.90.0.11');
    expect((await run('import ipvsadm - --director d1=here')).code).toBe(2);
    expect((await run('import ipvsadm /none/such')).code).toBe(2);
  });

  it('means the same table for whatever the kernel may have, or says which line does not go', () => {
    const table = fc.uniqueArray(
      fc.tuple(ipvsService, fc.array(ipvsDestination, { maxLength: 3 })).map(
        ([service, destinations]): DesiredService => ({
          ...service,
          destinations: fitting(service, destinations),
        }),
      ),
      { maxLength: 4, selector: ({ key }) => JSON.stringify(key) },
    );
    let taken = 0;
    fc.assert(
      fc.property(table, (services) => {
        const text = formatIpvsadm(services, 'restore');
        const imported = importIpvsadm(text, {
          group: 'g',
          interface: 'public',
          directors: new Map([['d1', '192.0.2.9']]),
        });
        if (!imported.ok) {
          for (const { path } of imported.error) expect(path).toMatch(/^(line \d+|)$/);
          return;
        }
        const parsed = parseClusterText(formatYaml(imported.value.document));
        if (!parsed.ok) return;
        taken++;
        const again = formatIpvsadm(deriveWholeTable(parsed.value.spec), 'restore');
        const meant = parseIpvsadm(text);
        if (!meant.ok) throw new Error(text);
        const found = parseIpvsadm(again);
        // What has no effect without persistence is not kept.
        const isSame = found.ok && found.value.length === meant.value.length;
        expect(isSame, `${text}\nbut\n${again}`).toBe(true);
        for (const [i, one] of meant.value.entries()) {
          const other = found.ok ? found.value[i] : undefined;
          expect(other !== undefined && equalDesiredService(one, other), again).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
    expect(taken).toBeGreaterThan(5);
  });
});

describe('export ipvsadm', () => {
  it('gives the table of the applied document, and says what is not in there', async () => {
    const rig = await startRig();
    try {
      applyDocument(rig);
      const { code, out, err } = await rig.run('export ipvsadm');
      expect(code).toBe(0);
      expect(out).toBe(`-A -t 10.90.0.100:80 -s wlc
-a -t 10.90.0.100:80 -r 10.90.0.21:80 -g -w 1
-a -t 10.90.0.100:80 -r 10.90.0.22:80 -g -w 3
-A -t [fd90::100]:80 -s rr
-a -t [fd90::100]:80 -r [fd90::21]:80 -g -w 1
-A -t 10.90.0.101:25 -s wrr
-a -t 10.90.0.101:25 -r 10.90.0.31:25 -g -w 2
`);
      expect(err).toBe('not in there: the checks of 2 services\nnot in there: 1 sorry server\n');
    } finally {
      await rig.api.close();
    }
  });

  it('takes a file, judges it, and needs no director for it', async () => {
    const { out } = await run(`import ipvsadm - ${DIRECTORS}`);
    expect((await run('export ipvsadm -f - --form save', out)).out).toBe(SAVED);
    const bad = await run('export ipvsadm -f -', 'apiVersion: leasehold/v1');
    expect(bad).toMatchObject({ code: 2, out: '' });
    expect(bad.err).toContain('directors');
  });
});
