/** What a director's kernel settings mean for what the cluster document asks of it. */
import { familyOf, type IpFamily } from '../../model/address.ts';
import {
  type ClusterSpec,
  familyOfKey,
  type ForwardTarget,
  type VirtualService,
} from '../../model/cluster.ts';
import type { DirectorId } from '../../model/ids.ts';
import { isOwnService } from '../service/own-standby.ts';

export type SysctlFinding = {
  readonly name: string;
  /** Null: this kernel has none of that name. */
  readonly value: string | null;
  /** `problem`: something that the document asks for does not work; `advice`: it may not do what is meant. */
  readonly severity: 'problem' | 'advice';
  /** Cause and remedy. */
  readonly text: string;
};

/** By dotted name; null: this kernel has none of that name; missing: it could not be read. */
export type SysctlValues = ReadonlyMap<string, string | null>;

const FORWARD_4 = 'net.ipv4.ip_forward';
const FORWARD_6 = 'net.ipv6.conf.all.forwarding';
const REDIRECTS = 'net.ipv4.conf.all.send_redirects';
const CONNTRACK = 'net.ipv4.vs.conntrack';
const QUIESCENT = 'net.ipv4.vs.expire_quiescent_template';
const NODEST = 'net.ipv4.vs.expire_nodest_conn';
/** Connection sync goes by it. */
export const BACKUP_ONLY = 'net.ipv4.vs.backup_only';

const RP_FILTER = 'net.ipv4.conf.all.rp_filter';

/** Everything that `judgeSysctls` looks at on a director with these devices. */
export const judgedSysctls = (devices: Devices): readonly string[] => [
  FORWARD_4,
  FORWARD_6,
  REDIRECTS,
  CONNTRACK,
  QUIESCENT,
  NODEST,
  RP_FILTER,
  ...[...new Set(devices.values())].flatMap((device) => [
    ofDevice(device, 'send_redirects'),
    ofDevice(device, 'rp_filter'),
  ]),
];

/** As sysctl(8) writes it: eth0/100 is the device eth0.100. */
const ofDevice = (device: string, setting: string): string =>
  `net.ipv4.conf.${device.replaceAll('.', '/')}.${setting}`;

/** Logical interface name to device, as in agent.yaml. */
type Devices = ReadonlyMap<string, string>;

export type SysctlJudgement = {
  readonly me: DirectorId;
  readonly devices: Devices;
  readonly spec: ClusterSpec;
  readonly values: SysctlValues;
};

export function judgeSysctls(input: SysctlJudgement): readonly SysctlFinding[] {
  const { spec } = input;
  const nat = spec.services.filter((service) => targetsOf(service).some(isNat));
  return [
    ...judgeForwarding(input, nat, 4),
    ...judgeForwarding(input, nat, 6),
    ...judgeNat(input, nat),
    ...judgeTemplates(input),
    ...judgeReversePath(input),
    ...judgeOwn(input),
  ];
}

const isNat = ({ forward }: ForwardTarget): boolean => forward === 'nat';

const targetsOf = ({ realServers, sorryServer }: VirtualService): readonly ForwardTarget[] =>
  sorryServer === null ? realServers : [...realServers, sorryServer];

const inDocument = (name: string, value: string): string =>
  `ipvs: { sysctls: { ${name}: ${value} } } in the cluster document, or sysctl -w ${name}=${value} on this director`;

function judgeForwarding(
  { values }: SysctlJudgement,
  nat: readonly VirtualService[],
  family: IpFamily,
): readonly SysctlFinding[] {
  const name = family === 4 ? FORWARD_4 : FORWARD_6;
  const value = values.get(name);
  const needing = nat.filter((service) =>
    targetsOf(service).some((target) => isNat(target) && familyOf(target.address) === family),
  );
  // IPv6 has values above 1 that forward too.
  if (needing.length === 0 || value === undefined || (value !== null && value !== '0')) return [];
  const what =
    value === null ? `this kernel has no ${name}` : `${name} is 0: this director does not route`;
  return [
    {
      name,
      value,
      severity: 'problem',
      text: `${what}, so that no answer of a NAT real server reaches a client of ${listSome(needing)}; set it: ${inDocument(name, '1')}`,
    },
  ];
}

function judgeNat(
  { values, devices }: SysctlJudgement,
  nat: readonly VirtualService[],
): readonly SysctlFinding[] {
  if (nat.length === 0) return [];
  const findings: SysctlFinding[] = [];
  if (nat.some((one) => targetsOf(one).some(isNatOver4)))
    findings.push(...judgeRedirects(values, devices));
  if (values.get(CONNTRACK) === '0')
    findings.push({
      name: CONNTRACK,
      value: '0',
      severity: 'advice',
      text: `${CONNTRACK} is 0: firewall rules of this director that look at connections (ct state, masquerade) do not know those of NAT services; if there are any: ${inDocument(CONNTRACK, '1')}`,
    });
  return findings;
}

/** The kernel sends them where the setting of all, or that of the device, is 1. */
function judgeRedirects(values: SysctlValues, devices: Devices): readonly SysctlFinding[] {
  const sending = [REDIRECTS, ...namesOf(devices, 'send_redirects')].filter(
    (name) => values.get(name) === '1',
  );
  const [name, ...others] = sending;
  if (name === undefined) return [];
  const remedy = [
    name === REDIRECTS ? inDocument(name, '0') : onDirector(name, '0'),
    ...others.map((other) => onDirector(other, '0')),
  ].join('; and ');
  return [
    {
      name,
      value: '1',
      severity: 'advice',
      text: `${name} is 1: where clients and NAT real servers share a network, this director tells the real servers to answer past it, and connections break; if so: ${remedy}`,
    },
  ];
}

const namesOf = (devices: Devices, setting: string): readonly string[] =>
  [...new Set(devices.values())].map((device) => ofDevice(device, setting));

const onDirector = (name: string, value: string): string =>
  `sysctl -w ${name}=${value} on this director`;

/**
 * Strict, the kernel drops what comes in by another interface than the way back, before IPVS sees it: with one
 * network that cannot be. The greater of the settings of all and of the device counts.
 */
function judgeReversePath({ spec, values, devices }: SysctlJudgement): readonly SysctlFinding[] {
  if (new Set(devices.values()).size < 2) return [];
  const groups = new Set(
    spec.services.filter(({ keys }) => keys.some((key) => familyOfKey(key) === 4)).map(groupOf),
  );
  const used = spec.groups
    .filter(({ id }) => groups.has(id))
    .flatMap(({ addresses }) => addresses.flatMap((one) => devices.get(one.interface) ?? []));
  const strict = [...new Set(used)].flatMap((device) => {
    const own = ofDevice(device, 'rp_filter');
    const [all, one] = [values.get(RP_FILTER), values.get(own)];
    if (all === undefined || one === undefined || all === '2' || one === '2') return [];
    return all === '1' || one === '1' ? [{ device, own, isOwn: one === '1' }] : [];
  });
  return strict.map(({ device, own, isOwn }) => ({
    name: isOwn ? own : RP_FILTER,
    value: '1',
    severity: 'advice',
    text: `${isOwn ? own : RP_FILTER} is 1: clients whose packets come in by ${device}, while the way back to them is another interface, are dropped before IPVS sees them; if there are such clients: ${onDirector(own, '2')}`,
  }));
}

const groupOf = ({ group }: VirtualService): VirtualService['group'] => group;

const isNatOver4 = (target: ForwardTarget): boolean =>
  isNat(target) && familyOf(target.address) === 4;

function judgeTemplates({ spec, values }: SysctlJudgement): readonly SysctlFinding[] {
  const persistent = spec.services.filter(({ persistence }) => persistence !== null);
  if (persistent.length === 0 || values.get(QUIESCENT) !== '0') return [];
  return [
    {
      name: QUIESCENT,
      value: '0',
      severity: 'advice',
      text: `${QUIESCENT} is 0: a client of ${listSome(persistent)} comes back to its real server while that is drained, until the persistence timeout is over; to move it at once: ${inDocument(QUIESCENT, '1')}`,
    },
  ];
}

/**
 * A director that was the holder keeps the connections that it shared out to others. The next holder may send
 * it the same client and port again: such a packet is dropped until the old connection has expired.
 */
function judgeOwn({ me, spec, values }: SysctlJudgement): readonly SysctlFinding[] {
  const address = spec.directors.find(({ id }) => id === me)?.address;
  if (address === undefined || values.get(NODEST) !== '0') return [];
  const own = spec.services.filter((service) => isOwnService(service, new Set([address])));
  if (own.length === 0) return [];
  return [
    {
      name: NODEST,
      value: '0',
      severity: 'advice',
      text: `${NODEST} is 0, and this director is a real server of ${listSome(own)}: a client that comes again from the same port after its group has moved away from here may get no answer until the old connection has expired; to answer it: ${inDocument(NODEST, '1')}`,
    },
  ];
}

const LISTED = 5;

function listSome(services: readonly VirtualService[]): string {
  const rest = services.length - LISTED;
  const names = services.slice(0, LISTED).map(({ id }) => id);
  return names.join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
