/** What the refusals of IPVS say to a user: the attempt, the cause, the module to load. */
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../../../src/adapters/linux/ipvs-failure.ts';
import type { IpvsOperation } from '../../../../src/model/kernel.ts';
import { ip, real, service, tcp } from '../../../contract/ipvs-kernel.contract.ts';

const VIP = tcp('10.90.0.100', 80);
const addService = (more: Parameters<typeof service>[1]): IpvsOperation => ({
  op: 'add-service',
  service: service(VIP, more),
});
const addReal = (...real_: Parameters<typeof real>): IpvsOperation => ({
  op: 'add-destination',
  service: VIP,
  destination: real(...real_),
});
const daemon: IpvsOperation = {
  op: 'new-daemon',
  daemon: {
    state: 'master',
    interface: 'eth9',
    syncId: 51,
    maxLength: null,
    group: ip('224.0.0.81'),
    port: 8848,
    ttl: 1,
  },
};

const said = (operation: IpvsOperation, code: string, modules: readonly string[] = []): string =>
  failureOf(operation, code, (module) => modules.includes(module))?.message ?? 'done';

describe('what is done already is no failure', () => {
  test.each<[IpvsOperation, string]>([
    [addService({}), 'EEXIST'],
    [addReal('10.90.0.21', 80), 'EEXIST'],
    [daemon, 'EEXIST'],
    [{ op: 'delete-service', service: VIP }, 'ESRCH'],
    [{ op: 'delete-destination', service: VIP, destination: real('10.90.0.21', 80) }, 'ENOENT'],
    [{ op: 'delete-daemon', daemon: { state: 'backup' } }, 'ESRCH'],
  ])('%j %s', (operation, code) => {
    expect(failureOf(operation, code, () => true)).toBeNull();
    expect(failureOf(operation, null, () => true)).toBeNull();
    expect(failureOf(operation, 'EPERM', () => true)).toMatchObject({ code: 'EPERM' });
  });

  test.each<IpvsOperation>([
    { op: 'zero', service: VIP },
    { op: 'set-service', service: service(VIP) },
    { op: 'set-destination', service: VIP, destination: real('10.90.0.21', 80) },
    { op: 'set-timeouts', timeouts: { tcpS: 1, tcpFinS: 1, udpS: 1 } },
  ])('%j must find what it is about', (operation) => {
    for (const code of ['EEXIST', 'ENOENT', 'ESRCH'])
      expect(failureOf(operation, code, () => true)).toMatchObject({ code });
  });
});

describe('a missing module is named', () => {
  test('a scheduler', () => {
    expect(said(addService({ scheduler: 'twos' }), 'ENOENT')).toBe(
      'add service tcp 10.90.0.100:80: ENOENT (unknown scheduler "twos": load it with "modprobe ip_vs_twos")',
    );
  });

  test('a persistence engine, where the scheduler is there', () => {
    const operation = addService({ scheduler: 'rr', persistenceEngine: 'sip' });
    expect(said(operation, 'ENOENT', ['ip_vs_rr'])).toContain(
      '(unknown persistence engine "sip": load it with "modprobe ip_vs_pe_sip")',
    );
    const both = said(operation, 'ENOENT');
    expect(both).toContain('"modprobe ip_vs_rr"');
    expect(both).toContain('"modprobe ip_vs_pe_sip"');
  });
});

describe('a cause is told where the code has several', () => {
  test.each<[IpvsOperation, string, RegExp]>([
    [{ op: 'zero', service: VIP }, 'ESRCH', /^zero the counters of tcp .*no such virtual service/],
    [{ op: 'zero', service: null }, 'EPERM', /^zero all counters: EPERM .*CAP_NET_ADMIN/],
    [addService({}), 'EAFNOSUPPORT', /IPv6 is off/],
    [addReal('10.90.0.21', 80), 'ERANGE', /threshold/],
    [addReal('fd90::21', 80, { forward: 'tun' }), 'EINVAL', /another family.*no connection sync/],
    [
      addReal('10.90.0.21', 80, {
        forward: 'tun',
        tunnel: { type: 'gue', port: 0, checksum: 'nocsum' },
      }),
      'EINVAL',
      /gue tunnel needs a port/,
    ],
    [addReal('224.0.0.1', 80), 'EINVAL', /224\.0\.0\.1 must be a unicast address/],
    [
      daemon,
      'ENODEV',
      /^start the master sync daemon on eth9: ENODEV \(there is no interface eth9/,
    ],
    [daemon, 'EINVAL', /224\.0\.0\.81 must be a multicast address/],
    [{ op: 'delete-daemon', daemon: { state: 'backup' } }, 'EPERM', /^stop the backup sync daemon/],
    [
      { op: 'set-timeouts', timeouts: { tcpS: 1, tcpFinS: 1, udpS: 1 } },
      'EINVAL',
      /^set timeouts: EINVAL/,
    ],
    [
      { op: 'set-destination', service: VIP, destination: real('10.90.0.21', 80) },
      'ENOENT',
      /^set destination 10\.90\.0\.21:80 of tcp 10\.90\.0\.100:80: .*no such real server/,
    ],
  ])('%j %s', (operation, code, words) => {
    expect(said(operation, code)).toMatch(words);
  });
});
