/** `realserver`: what is typed, what is refused, what is shown. The machine is one in memory. */
import { describe, expect, it } from 'vitest';
import { runRealServer } from '../../../src/agent/real-server-job.ts';
import type { CliDeps } from '../../../src/cli/context.ts';
import type { RealServerRequest } from '../../../src/model/real-server-host.ts';
import { FakeRealServer } from '../../fakes/fake-real-server-host.ts';
import { runCli, type Screen } from './harness.ts';

const noAgent = async (): Promise<number> => 0;
const withMachine =
  (host: FakeRealServer): CliDeps['realServer'] =>
  (request) =>
    runRealServer(request, { host, store: host });

const run = (words: string, realServer: CliDeps['realServer']): Promise<Screen> =>
  runCli(['realserver', ...words.split(' ')], {}, noAgent, noAgent, realServer);

/** What the machine is asked for. */
async function requestOf(words: string): Promise<RealServerRequest | null> {
  let seen: RealServerRequest | null = null;
  await run(words, async (request) => {
    seen = request;
    return { ok: false, error: 'seen' };
  });
  return seen;
}

describe('what is typed', () => {
  it.each([
    ['up --vip 10.90.0.100/32 --mode dr', { tunnel: null, device: null }],
    ['up --vip 10.90.0.100 --mode dr --interface dummy0', { tunnel: null, device: 'dummy0' }],
    ['up --vip 10.90.0.100 --mode tun', { tunnel: { kind: 'ipip', over: 4, guePort: null } }],
    ['up --vip FD90:0::100 --mode tun', { tunnel: { kind: 'ipip', over: 6, guePort: null } }],
    [
      'up --vip fd90::100 --mode tun --over ipv4',
      { tunnel: { kind: 'ipip', over: 4, guePort: null } },
    ],
    [
      'up --vip 10.90.0.100 --mode tun --gue-port 6080',
      { tunnel: { kind: 'gue', over: 4, guePort: 6080 } },
    ],
    [
      'up --vip 10.90.0.100 --mode tun --tunnel gre --over ipv6',
      { tunnel: { kind: 'gre', over: 6, guePort: null } },
    ],
  ])('%s', async (words, wish) => {
    expect(await requestOf(words)).toMatchObject({ verb: 'up', wishes: [wish] });
  });

  it('takes several VIPs, the same one once', async () => {
    const request = await requestOf(
      'up --vip 10.90.0.100 --vip fd90::100 --vip fd90:0::100 --mode dr',
    );
    expect(request).toMatchObject({
      wishes: [{ address: '10.90.0.100' }, { address: 'fd90::100' }],
    });
    expect(request?.verb === 'up' && request.wishes).toHaveLength(2);
  });

  it('needs no VIP for down and status', async () => {
    expect(await requestOf('down')).toEqual({ verb: 'down', asked: null });
    expect(await requestOf('down --vip fd90::100')).toEqual({
      verb: 'down',
      asked: [{ vip: 'fd90::100', wish: null }],
    });
    expect(await requestOf('down --no-all --vip fd90::100')).toEqual(
      await requestOf('down --vip fd90::100'),
    );
    expect(await requestOf('status')).toEqual({ verb: 'status', asked: null });
    expect(await requestOf('status --vip fd90::100')).toEqual({
      verb: 'status',
      asked: [{ vip: 'fd90::100', wish: null }],
    });
  });
});

describe('what is refused', () => {
  it('is told all at once, with exit code 2, and nothing is asked of the machine', async () => {
    let isAsked = false;
    const screen = await run(
      'up --vip 10.90.0.1x --vip 10.90.0.100/24 --vip 224.0.0.1 --mode nat --gue-port 99999 --over 7 --interface a/b',
      async () => {
        isAsked = true;
        return { ok: false, error: '' };
      },
    );
    expect(screen).toEqual({
      code: 2,
      out: '',
      err: `error: --vip: "10.90.0.1x" is not an IPv4 or IPv6 address
error: --vip 10.90.0.100/24: a real server has the VIP alone, write 10.90.0.100 or 10.90.0.100/32; with /24 it would take the whole network for its own
error: --vip 224.0.0.1: is no address of a machine
error: --mode nat: must be dr or tun (with nat a real server needs no VIP)
error: --over 7: must be ipv4 or ipv6, the family of the real server's own address
error: --gue-port 99999: must be 1 to 65535
error: --interface a/b: is no name of a device
`,
    });
    expect(isAsked).toBe(false);
  });

  it.each([
    ['up', '--vip is missing', '--mode is missing'],
    ['up --vip 127.0.0.1 --mode dr', 'is a loopback address'],
    ['up --vip 0.0.0.0 --mode dr', 'is no address of a machine'],
    ['up --vip 255.255.255.255 --mode dr', 'is no address of a machine'],
    ['up --vip 169.254.1.1 --mode dr', 'is a link-local address'],
    ['up --vip ::1 --mode dr', 'is the loopback address'],
    ['up --vip :: --mode dr', 'is no address of a machine'],
    ['up --vip ff02::1 --mode dr', 'is no address of a machine'],
    ['up --vip fe80::1 --mode dr', 'is a link-local address'],
    ['up --vip ::ffff:10.0.0.1 --mode dr', 'write it as IPv4'],
    ['up --vip fd90::1/64 --mode dr', 'write fd90::1 or fd90::1/128'],
    ['up --vip 10.90.0.100 --mode dr --tunnel ipip', '--tunnel is for --mode tun'],
    ['up --vip 10.90.0.100 --mode dr --gue-port 1', '--gue-port is for --mode tun'],
    ['up --vip 10.90.0.100 --mode dr --over ipv6', '--over is for --mode tun'],
    ['up --vip 10.90.0.100 --mode tun --tunnel gue', '--gue-port is missing'],
    ['up --vip 10.90.0.100 --mode tun --tunnel gre --gue-port 1', 'is for --tunnel gue, not gre'],
    ['up --vip 10.90.0.100 --mode tun --tunnel vxlan', 'must be ipip, gue or gre'],
    ['up --vip 10.90.0.100 --mode tun --gue-port 0', 'must be 1 to 65535'],
    ['up --vip 10.90.0.100 --mode tun --gue-port 6080x', 'must be 1 to 65535'],
    ['up --vip 10.90.0.100 --mode dr --interface all', 'is no name of a device'],
    ['down --vip 10.90.0.300', 'is not an IPv4 or IPv6 address'],
    ['status --vip 10.90.0.300', 'is not an IPv4 or IPv6 address'],
    ['up 10.90.0.100 --mode dr', 'too many arguments'],
    // With none of them these words mean every VIP of the machine.
    ['down --no-all', '--vip is missing: with --no-all nothing is taken down without it'],
    ['down --no-all --mode dr', '--vip is missing: with --no-all'],
    ['down --mode dr', '--vip is missing: these options tell how a VIP is up'],
    ['down --interface dummy0', '--vip is missing'],
    ['status --mode tun --gue-port 6080', '--vip is missing'],
  ])('%s', async (words, ...texts) => {
    const screen = await run(words, withMachine(new FakeRealServer()));
    expect(screen.code).toBe(2);
    expect(screen.out).toBe('');
    for (const text of texts) expect(screen.err).toContain(text);
  });
});

describe('what is shown', () => {
  it('is one line each, and the result last', async () => {
    const host = new FakeRealServer();
    const machine = withMachine(host);
    expect(await run('status --vip 10.90.0.100', machine)).toEqual({
      code: 1,
      err: '',
      out: `missing  net.ipv4.conf.all.arp_ignore    is 0, must be 1, 2 or 8: ARP for the VIP is answered, traffic goes past the director; remedy: leasehold realserver up --vip 10.90.0.100 --mode dr
missing  net.ipv4.conf.all.arp_announce  is 0, must be 2: ARP requests name the VIP as their sender, neighbours learn it; remedy: leasehold realserver up --vip 10.90.0.100 --mode dr
missing  10.90.0.100/32 on lo            is not bound; remedy: leasehold realserver up --vip 10.90.0.100 --mode dr
not ready: 3 of 3 lines say what is missing
`,
    });
    expect(await run('up --vip 10.90.0.100 --vip fd90::100 --mode dr', machine)).toEqual({
      code: 0,
      err: '',
      out: `done     net.ipv4.conf.all.arp_ignore    0 -> 1
done     net.ipv4.conf.all.arp_announce  0 -> 2
done     10.90.0.100/32 on lo            bound
done     fd90::100/128 on lo             bound
ready: 10.90.0.100 (dr), fd90::100 (dr)
`,
    });
    expect((await run('status', machine)).code).toBe(0);
    expect(await run('down', machine)).toEqual({
      code: 0,
      err: '',
      out: `done     10.90.0.100/32 on lo            unbound
done     fd90::100/128 on lo             unbound
done     net.ipv4.conf.all.arp_ignore    1 -> 0
done     net.ipv4.conf.all.arp_announce  2 -> 0
down: 10.90.0.100, fd90::100
`,
    });
    expect(await run('status', machine)).toMatchObject({ code: 1 });
  });

  it('is JSON where asked, with the same exit codes', async () => {
    const host = new FakeRealServer();
    const screen = await run('status --vip 10.90.0.100 --json', withMachine(host));
    expect(screen.code).toBe(1);
    expect(JSON.parse(screen.out)).toMatchObject({
      isGood: false,
      vips: [{ address: '10.90.0.100', device: 'lo', tunnel: null }],
      lines: [{ state: 'missing', what: 'net.ipv4.conf.all.arp_ignore' }, {}, {}],
    });
  });

  it('is exit code 3 where up is refused or fails, or the machine cannot be looked at', async () => {
    const host = new FakeRealServer();
    const refused = await run('up --vip 10.90.0.21 --mode dr', withMachine(host));
    expect(refused.code).toBe(3);
    expect(refused.out).toMatch(/^refused .*\nrefused, nothing was changed\n$/);
    host.withoutModules.add('ipip');
    const failed = await run('up --vip 10.90.0.100 --mode tun', withMachine(host));
    expect(failed.code).toBe(3);
    expect(failed.out).toContain('the kernel module ipip cannot be loaded');
    const blind = await run('status', async () => ({ ok: false, error: 'no sight' }));
    expect(blind).toEqual({ code: 3, out: '', err: 'no sight\n' });
  });
});
