/** What a director's kernel settings mean for what the cluster document asks of it. */
import { familyOf, type IpFamily } from '../../model/address.ts';
import type { ClusterSpec, ForwardTarget, VirtualService } from '../../model/cluster.ts';
import type { DirectorId } from '../../model/ids.ts';

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
export const BACKUP_ONLY = 'net.ipv4.vs.backup_only';

/** Everything that `judgeSysctls` looks at. */
export const JUDGED_SYSCTLS: readonly string[] = [
  FORWARD_4,
  FORWARD_6,
  REDIRECTS,
  CONNTRACK,
  QUIESCENT,
  BACKUP_ONLY,
];

export type SysctlJudgement = {
  readonly me: DirectorId;
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
    ...judgeLoop(input),
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
  { values }: SysctlJudgement,
  nat: readonly VirtualService[],
): readonly SysctlFinding[] {
  if (nat.length === 0) return [];
  const findings: SysctlFinding[] = [];
  if (values.get(REDIRECTS) === '1' && nat.some((one) => targetsOf(one).some(isNatOver4)))
    findings.push({
      name: REDIRECTS,
      value: '1',
      severity: 'advice',
      text: `${REDIRECTS} is 1: where clients and NAT real servers share a network, this director tells the real servers to answer past it, and connections break; if so: ${inDocument(REDIRECTS, '0')}`,
    });
  if (values.get(CONNTRACK) === '0')
    findings.push({
      name: CONNTRACK,
      value: '0',
      severity: 'advice',
      text: `${CONNTRACK} is 0: firewall rules of this director that look at connections (ct state, masquerade) do not know those of NAT services; if there are any: ${inDocument(CONNTRACK, '1')}`,
    });
  return findings;
}

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

/** What a holder sends to a real server that is a director too would be shared out there once more. */
function judgeLoop({ me, spec, values }: SysctlJudgement): readonly SysctlFinding[] {
  const address = spec.directors.find(({ id }) => id === me)?.address;
  if (spec.ipvs.standby === 'cold' || address === undefined) return [];
  const synced = new Set(
    spec.groups.flatMap(({ id, connectionSync }) => (connectionSync === null ? [] : [id])),
  );
  const value = values.get(BACKUP_ONLY);
  // A director that serves one of several groups does not listen, and forwards what comes for the others.
  const isOnlyGroup = spec.groups.length === 1;
  const looping = spec.services.filter(
    (service) =>
      service.realServers.some((one) => one.address === address && one.forward !== 'nat') &&
      !(isOnlyGroup && value === '1' && synced.has(service.group)),
  );
  if (looping.length === 0 || value === undefined) return [];
  const or = isOnlyGroup
    ? `, or connectionSync of the group and ${inDocument(BACKUP_ONLY, '1')}`
    : '';
  return [
    {
      name: BACKUP_ONLY,
      value,
      severity: 'problem',
      text: `this director is a real server of ${listSome(looping)}, and while another one holds them its own table shares out once more what that one sends: use ipvs: { standby: cold }${or}`,
    },
  ];
}

const LISTED = 5;

function listSome(services: readonly VirtualService[]): string {
  const rest = services.length - LISTED;
  const names = services.slice(0, LISTED).map(({ id }) => id);
  return names.join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}
