/** Whether one director's own file offers what the cluster's spec asks of it. */
import { familyOf } from '../model/address.ts';
import type { CheckSpec, CheckTree, ClusterSpec, VipGroup } from '../model/cluster.ts';
import type { DirectorId } from '../model/ids.ts';
import { joinPath, type Problem } from './problem.ts';

/** IFNAMSIZ of linux/if.h without the final zero byte; also the bound of a label. */
const DEVICE_LENGTH_MAX = 15;

/** Interfaces that agent.yaml does not map, labels too long for the device, a director the spec does not name. */
export function directorSpecProblems(
  spec: ClusterSpec,
  agent: {
    readonly director: DirectorId;
    readonly interfaces: ReadonlyMap<string, string>;
  },
): readonly Problem[] {
  const problems: Problem[] = [];
  const names = spec.directors.map((director) => director.id);
  if (!names.includes(agent.director))
    problems.push({
      path: 'directors',
      message: `does not name this director, "${agent.director}"`,
      allowed: names.join(', '),
    });
  for (const group of spec.groups) {
    if (group.priorities !== null && !group.priorities.has(agent.director)) continue;
    for (const [index, entry] of group.addresses.entries()) {
      const path = joinPath(`${joinPath('groups', group.id)}.addresses`, index);
      const device = agent.interfaces.get(entry.interface);
      if (device === undefined)
        problems.push({
          path: `${path}.interface`,
          message: `agent.yaml of "${agent.director}" maps no device to "${entry.interface}"`,
          allowed: [...agent.interfaces.keys()].join(', ') || 'interfaces in agent.yaml',
        });
      const label = entry.label === null ? null : `${device}:${entry.label}`;
      if (device !== undefined && label !== null && familyOf(entry.address) === 4)
        if (label.length > DEVICE_LENGTH_MAX)
          problems.push({
            path: `${path}.label`,
            message: `"${label}" has ${label.length} characters`,
            allowed: `at most ${DEVICE_LENGTH_MAX - device.length - 1} characters beside device "${device}"`,
          });
    }
    problems.push(...trackProblems(group, agent));
  }
  problems.push(...checkInterfaceProblems(spec, agent));
  return problems;
}

/** A tracked interface that is too long for a device name can only be a logical name. */
function trackProblems(
  group: VipGroup,
  agent: { readonly director: DirectorId; readonly interfaces: ReadonlyMap<string, string> },
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [index, track] of group.tracks.entries()) {
    if (track.kind !== 'interface' || agent.interfaces.has(track.device)) continue;
    if (track.device.length <= DEVICE_LENGTH_MAX) continue;
    problems.push({
      path: `${joinPath(`${joinPath('groups', group.id)}.track`, index)}.interface`,
      message: `agent.yaml of "${agent.director}" maps no device to "${track.device}"`,
      allowed: [...agent.interfaces.keys()].join(', ') || 'interfaces in agent.yaml',
    });
  }
  return problems;
}

/** As for tracks: what is too long for a device can only be a logical name. Each name is told once. */
function checkInterfaceProblems(
  spec: ClusterSpec,
  agent: { readonly director: DirectorId; readonly interfaces: ReadonlyMap<string, string> },
): readonly Problem[] {
  const problems = new Map<string, Problem>();
  const judge = (tree: CheckTree | null, path: string): void => {
    for (const { origin } of tree === null ? [] : leavesOf(tree)) {
      const name = origin?.interface ?? null;
      if (name === null || agent.interfaces.has(name) || problems.has(name)) continue;
      if (name.length <= DEVICE_LENGTH_MAX) continue;
      problems.set(name, {
        path,
        message: `agent.yaml of "${agent.director}" maps no device to "${name}"`,
        allowed: [...agent.interfaces.keys()].join(', ') || 'interfaces in agent.yaml',
      });
    }
  };
  for (const service of spec.services) {
    const path = joinPath('services', service.id);
    judge(service.check, `${path}.check`);
    for (const server of service.realServers)
      if (server.check !== undefined) judge(server.check, path);
  }
  return [...problems.values()];
}

const leavesOf = (tree: CheckTree): readonly CheckSpec[] =>
  'of' in tree ? tree.of.flatMap(leavesOf) : [tree];
