/** What the document says of IPVS as a whole: timeouts, kernel settings, connection sync. */
import { familyOf, ipToBytes, type IpAddress } from '../model/address.ts';
import { DEFAULT_SYNC } from './defaults.ts';
import { readPlace } from './places.ts';
import type { Problem } from './problem.ts';
import { addressOf, at, entriesOf, itemsOf, numberOf, type Raw, textOf } from './raw.ts';
import { firstUseOf, rangeProblems } from './rules-common.ts';
import { forwardOf } from './rules-real-servers.ts';
import { secondsProblems } from './rules-service-options.ts';

export function ipvsProblems(root: Raw): readonly Problem[] {
  const ipvs = at(root, 'ipvs');
  const timeouts = at(ipvs, 'timeouts');
  return [
    ...['tcp', 'tcpFin', 'udp'].flatMap((key) => secondsProblems(at(timeouts, key))),
    ...thresholdProblems(at(at(ipvs, 'sysctls'), 'net.ipv4.vs.sync_threshold')),
    ...syncProblems(at(root, 'groups')),
    ...mixedFamilyProblems(root),
  ];
}

/** `threshold period`: after how many packets a connection is told, and in each so many again. */
function thresholdProblems(place: Raw): readonly Problem[] {
  const match = /^([0-9]+) ([0-9]+)$/.exec(textOf(place) ?? '');
  if (match === null || Number(match[1]) < Number(match[2]) || Number(match[2]) === 0) return [];
  return [
    {
      path: place.path,
      message: `"${match[0]}": the first number is not below the second`,
      allowed: 'such as "3 50"; a second number of 0 tells only when the state changes',
    },
  ];
}

const syncsOf = (groups: Raw): readonly { readonly group: Raw; readonly sync: Raw }[] =>
  entriesOf(groups)
    .map(([, group]) => ({ group, sync: at(group, 'connectionSync') }))
    .filter(({ sync }) => sync.value !== undefined);

/** The id as given, else the virtual router's; null: none. */
const syncIdOf = (group: Raw, sync: Raw): number | null =>
  numberOf(at(sync, 'id')) ?? numberOf(at(group, 'virtualRouterId'));

const interfaceOf = (group: Raw, sync: Raw): string | null =>
  textOf(at(sync, 'interface')) ?? textOf(at(group, 'interface'));

function syncProblems(groups: Raw): readonly Problem[] {
  const isTaken = firstUseOf<string>();
  return syncsOf(groups).flatMap(({ group, sync }) => {
    const problems: Problem[] = [];
    const id = syncIdOf(group, sync);
    const device = interfaceOf(group, sync);
    if (id === null && at(sync, 'id').value === undefined)
      problems.push({
        path: at(sync, 'id').path,
        message: 'is missing, and the group has no virtualRouterId to take its place',
        allowed: 'a number from 0 to 255, for each group another',
      });
    if (device === null && at(sync, 'interface').value === undefined)
      problems.push({
        path: at(sync, 'interface').path,
        message: 'is missing, and the group has no interface to take its place',
        allowed: 'a logical interface name',
      });
    if (id !== null && device !== null) {
      const other = isTaken(`${device} ${id}`, group.path);
      if (other !== null)
        problems.push({
          path: sync.path,
          message: `id ${id} on interface ${device} is also that of ${other}`,
          allowed: 'another id (0 to 255) for each group on an interface',
        });
    }
    return [
      ...problems,
      ...multicastProblems(at(sync, 'group')),
      ...rangeProblems(at(sync, 'catchUp'), { fromMs: 0, toMs: 3_600_000 }),
    ];
  });
}

function multicastProblems(place: Raw): readonly Problem[] {
  const text = textOf(place);
  if (text === null) return [];
  const address = addressOf(place);
  if (address !== null && isMulticast(address)) return [];
  return [
    {
      path: place.path,
      message: `${text} is no multicast address`,
      allowed: '224.0.0.0 to 239.255.255.255, or one of ff00::/8',
    },
  ];
}

function isMulticast(address: IpAddress): boolean {
  const [first = 0] = ipToBytes(address);
  return familyOf(address) === 6 ? first === 0xff : first >= 224 && first < 240;
}

/** The sync protocol has one family a connection: the kernel refuses the second of the two (ip_vs_ctl.c). */
function mixedFamilyProblems(root: Raw): readonly Problem[] {
  const [first] = syncsOf(at(root, 'groups'));
  if (first === undefined) return [];
  return entriesOf(at(root, 'services')).flatMap(([, service]) => {
    const { family } = readPlace(service);
    const servers = [...itemsOf(at(service, 'realServers')), at(service, 'sorryServer')];
    const mixed = servers.find((server) => {
      const address = addressOf(at(server, 'address'));
      if (address === null || family === null || familyOf(address) === family) return false;
      return forwardOf(service, server) === 'tun';
    });
    if (mixed === undefined) return [];
    return [
      {
        path: at(mixed, 'address').path,
        message: `is of another family than its service, which the kernel refuses beside connection sync (${first.sync.path})`,
        allowed: `an IPv${family} address, or no connectionSync in any group`,
      },
    ];
  });
}

/** A kernel has one master daemon and one for backup: they cannot serve two ways of sync at once. */
export function syncWarnings(groups: Raw): readonly Problem[] {
  const [first, ...others] = syncsOf(groups);
  if (first === undefined) return [];
  const wayOf = ({ group, sync }: typeof first): string =>
    JSON.stringify([
      interfaceOf(group, sync),
      textOf(at(sync, 'group')) ?? DEFAULT_SYNC.group,
      numberOf(at(sync, 'port')) ?? DEFAULT_SYNC.port,
      numberOf(at(sync, 'ttl')) ?? DEFAULT_SYNC.ttl,
      numberOf(at(sync, 'maxLength')),
    ]);
  return others
    .filter((other) => wayOf(other) !== wayOf(first))
    .map(({ sync }) => ({
      path: sync.path,
      message: `differs from ${first.sync.path}: a director that holds both groups can sync one of them only`,
      allowed: 'the same interface, group, port, ttl and maxLength for all groups; another id',
    }));
}
