/** IPVS tables as text of ipvsadm: what it prints, what it reads, and what neither can. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIpvsadm } from '../../../src/config/ipvsadm-format.ts';
import { parseIpvsadm } from '../../../src/config/ipvsadm-parse.ts';
import { formatProblems } from '../../../src/config/problem.ts';
import { familyOf } from '../../../src/model/address.ts';
import { familyOfKey } from '../../../src/model/cluster.ts';
import {
  type DesiredService,
  formatServiceKey,
  IP_VS_SVC_F_ONEPACKET,
  IP_VS_SVC_F_PERSISTENT,
  IP_VS_SVC_F_SCHED3,
  type IpvsDestination,
  type IpvsService,
} from '../../../src/model/kernel.ts';
import { decodeDestination } from '../../../src/wire/ipvs-destination.ts';
import { decodeService } from '../../../src/wire/ipvs-service.ts';
import { real, service, tcp } from '../../contract/ipvs-kernel.contract.ts';
import { ipvsDestination, ipvsService } from '../../support/ipvs-arbitraries.ts';
import { bodyOf, loadCaptured } from '../wire/netlink-fixture.ts';

const fixture = (file: string): string =>
  readFileSync(join(import.meta.dirname, '../../fixtures', file), 'utf8');
const SAVED = fixture('ipvsadm-save.txt');
const RESTORED = fixture('ipvsadm-restore.txt');

/** The table whose dump ipvsadm printed as `ipvsadm-save.txt`. */
const TABLE = (() => {
  const services: (IpvsService & { destinations: IpvsDestination[] })[] = [];
  for (const [name, bytes] of loadCaptured('ipvsadm-more.txt')) {
    const last = services.at(-1);
    if (name.startsWith('table-service-')) {
      const decoded = decodeService(bodyOf(bytes));
      if (!decoded.ok) throw new Error(decoded.error);
      const { counters: _counters, rates: _rates, ...plain } = decoded.value;
      services.push({ ...plain, destinations: [] });
    } else if (name.startsWith('table-destination-') && last !== undefined) {
      const decoded = decodeDestination(bodyOf(bytes), last.key);
      if (!decoded.ok) throw new Error(decoded.error);
      last.destinations.push(plainDestination(decoded.value));
    }
  }
  return services;
})();

function plainDestination(seen: IpvsDestination): IpvsDestination {
  const { address, port, forward, tunnel, weight, upperThreshold, lowerThreshold } = seen;
  return { address, port, forward, tunnel, weight, upperThreshold, lowerThreshold };
}

function parsed(text: string): readonly DesiredService[] {
  const result = parseIpvsadm(text);
  if (!result.ok) throw new Error(formatProblems(result.error));
  return result.value;
}

const problems = (text: string): readonly string[] => {
  const result = parseIpvsadm(text);
  return result.ok ? [] : formatProblems(result.error).split('\n');
};

const sortedLines = (text: string): readonly string[] => text.trimEnd().split('\n').toSorted();

describe('what ipvsadm prints', () => {
  test('`save` writes what `ipvsadm -S -n` printed of the same table', () => {
    expect(TABLE).toHaveLength(13);
    expect(sortedLines(formatIpvsadm(TABLE, 'save'))).toEqual(sortedLines(SAVED));
  });

  test('what `ipvsadm -S -n` printed is read, all but what it leaves out', () => {
    const withoutThresholds = (one: IpvsDestination): IpvsDestination => ({
      ...one,
      upperThreshold: 0,
      lowerThreshold: 0,
    });
    const expected = TABLE.map((one) => ({
      ...one,
      // Its third scheduler flag is not printed for sh.
      flags: one.scheduler === 'sh' ? one.flags & ~IP_VS_SVC_F_SCHED3 : one.flags,
      destinations: one.destinations.map(withoutThresholds),
    }));
    const byKey = (list: readonly DesiredService[]): readonly DesiredService[] =>
      list
        .map((one) => ({
          ...one,
          destinations: one.destinations.toSorted((a, b) => (a.address < b.address ? -1 : 1)),
        }))
        .toSorted((a, b) => (formatServiceKey(a.key) < formatServiceKey(b.key) ? -1 : 1));
    expect(byKey(parsed(SAVED))).toEqual(byKey(expected));
  });

  test('what was given to ipvsadm is read as what it sent to the kernel', () => {
    expect(parsed(RESTORED)).toEqual(TABLE);
  });

  test('`restore` says everything', () => {
    expect(parsed(formatIpvsadm(TABLE, 'restore'))).toEqual(TABLE);
    expect(formatIpvsadm(TABLE, 'restore')).toContain(
      '-a -t 10.90.0.100:80 -r 10.90.0.22:8080 -m -w 0 -x 100 -y 10\n',
    );
    expect(formatIpvsadm(TABLE, 'restore')).toContain('-A -f 2147483649 -6 ');
  });

  test('no services are no lines', () => {
    expect(formatIpvsadm([], 'save')).toBe('');
    expect(parsed('')).toEqual([]);
  });
});

/** What ipvsadm takes: it has rules that the kernel has not. */
function acceptable(one: IpvsService): IpvsService {
  const isAddress = one.key.kind === 'address';
  const noOps = isAddress && one.key.kind === 'address' && one.key.protocol !== 'udp';
  const mustPersist = one.key.kind === 'address' && one.key.port === 0;
  const flags = (noOps ? one.flags & ~IP_VS_SVC_F_ONEPACKET : one.flags) | (mustPersist ? 1 : 0);
  const isPersistent = (flags & IP_VS_SVC_F_PERSISTENT) !== 0;
  return { ...one, flags, timeoutS: isPersistent ? Math.max(1, one.timeoutS) : 0 };
}

function fitting(key: IpvsService['key'], one: IpvsDestination): IpvsDestination {
  const isMixed = familyOf(one.address) !== familyOfKey(key);
  const forward = isMixed ? 'tun' : one.forward;
  const tunnel =
    forward === 'tun'
      ? (one.tunnel ?? { type: 'ipip' as const, port: 0, checksum: 'nocsum' as const })
      : null;
  const isFixed = key.kind === 'address' && forward !== 'nat';
  return { ...one, forward, tunnel, port: isFixed ? key.port : one.port };
}

const table: fc.Arbitrary<readonly DesiredService[]> = fc.uniqueArray(
  fc.tuple(ipvsService, fc.array(ipvsDestination, { maxLength: 5 })).map(([one, destinations]) => {
    const kept = acceptable(one);
    const fitted = destinations.map((destination) => fitting(kept.key, destination));
    const byEndpoint = new Map(fitted.map((each) => [`${each.address} ${each.port}`, each]));
    return { ...kept, destinations: [...byEndpoint.values()] };
  }),
  { selector: ({ key }) => formatServiceKey(key), maxLength: 8 },
);

describe('every table', () => {
  test('is read as it was written for `ipvsadm -R`', () => {
    fc.assert(
      fc.property(table, (services) => {
        expect(parsed(formatIpvsadm(services, 'restore'))).toEqual(services);
      }),
    );
  });

  test('written as `ipvsadm -S` does, reads as itself again', () => {
    fc.assert(
      fc.property(table, (services) => {
        const saved = formatIpvsadm(services, 'save');
        expect(formatIpvsadm(parsed(saved), 'save')).toBe(saved);
      }),
    );
  });

  test('any text is a table or a list of problems', () => {
    const word = fc.constantFrom(
      ...RESTORED.split(/\s+/),
      ...'-C -E -e -D -d -- - # -p 999999 [ :'.split(' '),
      '\n',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.string()), { maxLength: 30 }), (words) => {
        const result = parseIpvsadm(words.join(' '));
        if (!result.ok) expect(result.error.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe('the ways to write it', () => {
  const VIP = tcp('10.90.0.100', 80);

  test('long options, values in one word, several letters in one', () => {
    const text = [
      '--add-service --tcp-service=10.90.0.100:80 --scheduler rr',
      '-at 10.90.0.100:80 -r10.90.0.21:80 -gw 3',
      'ipvsadm -a -t 10.90.0.100:80 -r 10.90.0.22 -m # a comment',
      '/sbin/ipvsadm -a -t 10.90.0.100 -p',
    ];
    expect(parsed(text.slice(0, 3).join('\r\n'))).toEqual([
      {
        ...service(VIP, { scheduler: 'rr' }),
        destinations: [
          real('10.90.0.21', 80, { weight: 3 }),
          real('10.90.0.22', 80, { forward: 'nat' }),
        ],
      },
    ]);
    expect(problems(text.join('\n'))[0]).toMatch(/^line 4: "--persistent" does not go with "-a"/);
  });

  test('its defaults: wlc, gatewaying, weight 1, 360 seconds, the port of the service', () => {
    expect(parsed('-A -t 10.90.0.100:80 -p\n-a -t 10.90.0.100:80 -r 10.90.0.21:99')).toEqual([
      {
        ...service(VIP, { flags: 1, timeoutS: 360 }),
        destinations: [real('10.90.0.21', 80)],
      },
    ]);
  });

  test('edits, deletions and -C work on the lines before them', () => {
    const text = `-A -t 10.90.0.99:80
      -C
      -A -t 10.90.0.100:80 -s rr
      -A -t 10.90.0.101:80
      -a -t 10.90.0.100:80 -r 10.90.0.21
      -a -t 10.90.0.100:80 -r 10.90.0.22
      -e -t 10.90.0.100:80 -r 10.90.0.21 -w 0
      -d -t 10.90.0.100:80 -r 10.90.0.22
      -D -t 10.90.0.101:80
      -E -t 10.90.0.100:80 -s sh`;
    expect(parsed(text)).toEqual([
      {
        ...service(VIP, { scheduler: 'sh' }),
        destinations: [real('10.90.0.21', 80, { weight: 0 })],
      },
    ]);
  });

  test('an IPv6 address with and without brackets', () => {
    const [one] = parsed('-A -t [fd90::1]:80\n-a -t [fd90::1]:80 -r fd90::21');
    expect(one?.destinations).toEqual([real('fd90::21', 80)]);
  });
});

describe('lines that cannot be read', () => {
  test('are all told, with number and remedy', () => {
    const text = [
      '-A -t 10.90.0.100:80 -s rr',
      '-A -t www.example.com:http',
      '-a -t 10.90.0.100:80 -r 10.90.0.21:80 -g -m',
      '--set 900 120 300',
      '-A -t 10.90.0.101:80 --schedular rr',
      '-a -t 10.90.0.102:80 -r 10.90.0.21:80 -g',
    ];
    expect(problems(text.join('\n'))).toEqual([
      'line 2: "www.example.com" is no address (allowed: numbers, as "ipvsadm -S -n" prints them)',
      'line 3: more than one forwarding method (allowed: one of -g -i -m)',
      'line 4: "--set" changes no table (allowed: take the line out, and set "ipvs.timeouts" in the cluster document)',
      'line 5: unknown option "--schedular" (allowed: perhaps --scheduler)',
      'line 6: there is no service tcp 10.90.0.102:80 here (allowed: a line "-A" for it before this one)',
    ]);
  });

  test('a service that cannot be read does not blame its real servers', () => {
    const text = '-A -t 10.90.0.100:80 -s rr -p 0\n-a -t 10.90.0.100:80 -r 10.90.0.21:80 -g';
    expect(problems(text)).toEqual(['line 1: "-p 0" (allowed: 1 to 2678400)']);
  });

  test('very many are counted, not listed', () => {
    const told = problems(Array.from({ length: 250 }, () => 'nonsense').join('\n'));
    expect(told).toHaveLength(101);
    expect(told.at(-1)).toBe('document: 150 more problems');
  });

  const A = '-A -t 10.90.0.100:80';
  const a = `${A}\n-a -t 10.90.0.100:80 -r`;
  test.each([
    ['-t 10.90.0.100:80 -A', 'it begins with "-t"'],
    ['-A', 'it names not one service'],
    ['-A -t 10.90.0.100:80 -u 10.90.0.100:80', 'it names not one service'],
    [`${A} -A`, 'a second command "-A"'],
    [`${A} -s`, '"-s" without a value'],
    [`${A} -s rr -s rr`, '"-s" twice'],
    ['-A -u 10.90.0.100:53 --ops=yes', '"--ops" has no value'],
    [`${A} -o`, '"-o" with a protocol other than UDP'],
    [`${A} -6`, '"-6" without a mark'],
    [`${A} -s rr -b sh-port`, 'scheduler rr has no flag "sh-port"'],
    [`${A} -s way-too-long-for-the-kernel`, 'is no scheduler'],
    [`${A} --pe s/p`, 'is no persistence engine'],
    [`${A} -p 2678401`, '"-p 2678401"'],
    [`${A} -p 60 -M 255.0.255.0`, 'netmask 255.0.255.0 has gaps'],
    [`${A} -p 60 -M 24`, '"-M 24" is no netmask'],
    ['-A -t [fd90::1]:80 -p -M 129', '"-M 129"'],
    ['-A -t 10.90.0.100', 'port 0 without persistence'],
    ['-A -t 10.90.0.100:65536', '"65536" is no port'],
    ['-A -f 0', '"0" is no firewall mark'],
    ['-A -f 4294967296', '"4294967296" is no firewall mark'],
    [`${A}\n${A}`, 'a second service tcp 10.90.0.100:80'],
    ['-E -t 10.90.0.100:80', 'there is no service tcp 10.90.0.100:80 here'],
    ['-D -t 10.90.0.100:80', 'there is no service tcp 10.90.0.100:80 here'],
    [`${A}\n-a -t 10.90.0.100:80`, 'it names no real server'],
    [`${a} fd90::21`, 'fd90::21 is of another family than its service'],
    [`${a} 10.90.0.21 -w 2147483648`, '"-w 2147483648"'],
    [`${a} 10.90.0.21 -w -1`, '"-w -1"'],
    [`${a} 10.90.0.21 -x 1 -y 2`, '"-y 2" is above "-x 1"'],
    [`${a} 10.90.0.21 --tun-type gre`, 'options of a tunnel without a tunnel'],
    [`${a} 10.90.0.21 -i --tun-type vxlan`, '"vxlan" is no tunnel type'],
    [`${a} 10.90.0.21 -i --tun-type gue`, 'gue without a port'],
    [`${a} 10.90.0.21 -i --tun-type gue --tun-port 0`, '"--tun-port 0"'],
    [`${a} 10.90.0.21 -i --tun-port 6080`, 'a port of ipip'],
    [`${a} 10.90.0.21 -i --tun-csum`, 'a checksum of ipip'],
    [`${a} 10.90.0.21 -i --tun-type gre --tun-remcsum`, '"--tun-remcsum" of gre'],
    [`${a} 10.90.0.21 -i --tun-type gre --tun-csum --tun-nocsum`, 'more than one checksum option'],
    [`${a} 10.90.0.21\n-a -t 10.90.0.100:80 -r 10.90.0.21`, 'a second real server 10.90.0.21:80'],
    [`${A}\n-e -t 10.90.0.100:80 -r 10.90.0.21`, 'there is no real server 10.90.0.21:80'],
    [`${A}\n-d -t 10.90.0.100:80 -r 10.90.0.21`, 'there is no real server 10.90.0.21:80'],
    [
      'VIP=10.90.0.100',
      '"VIP=10.90.0.100" is no option of ipvsadm (allowed: lines of ipvsadm alone; a script is not run',
    ],
    ['-A -t $VIP:80', '"$VIP:80" has a variable (allowed: numbers; a script is not run'],
    [`${a} ${'${RS}'}`, '"${RS}" has a variable'],
    ['--restore', '"--restore" changes no table'],
    ['-L -n', '"-L" changes no table'],
  ])('%s', (text, words) => {
    const told = problems(text);
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(words);
    expect(told[0]).toMatch(/^line [12345]: .* \(allowed: .+\)$/);
  });
});
