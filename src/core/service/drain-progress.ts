/** Drains as the desired state and people look at them: by real server, and what is leaving. */
import type { RealServerId, ServiceId } from '../../model/ids.ts';
import { realServerKey } from '../health/checks.ts';
import { type Drain, type Drains, sumConnections } from './drain.ts';
import type { DrainProgress, ServiceExplanation } from './explanation.ts';

export type Progress = {
  /** By `realServerKey`: drains that an operator asked for. */
  readonly byRealServer: ReadonlyMap<string, DrainProgress>;
  /** By `drainKey`. */
  readonly isOver: (id: string) => boolean;
  /** Of one IPVS service: what the document no longer names and still has connections. */
  readonly leaving: (key: string) => readonly Drain[];
  readonly leavingOf: (service: ServiceId) => ServiceExplanation['leaving'];
};

export function deriveProgress(drains: Drains): Progress {
  const admin = new Map<string, Drain[]>();
  const leavingByKey = new Map<string, Drain[]>();
  const leavingByServer = new Map<ServiceId, Map<RealServerId, Drain[]>>();
  for (const drain of drains.values()) {
    const { service, realServer } = drain;
    if (drain.cause === 'admin') {
      listIn(admin, realServerKey(service, realServer)).push(drain);
      continue;
    }
    if (drain.end !== null) continue;
    listIn(leavingByKey, drain.key).push(drain);
    const servers = leavingByServer.get(service) ?? new Map<RealServerId, Drain[]>();
    leavingByServer.set(service, servers);
    listIn(servers, realServer).push(drain);
  }
  return {
    byRealServer: new Map([...admin].map(([id, list]) => [id, mergeDrains(list)])),
    isOver: (id) => (drains.get(id)?.end ?? null) !== null,
    leaving: (key) => leavingByKey.get(key) ?? [],
    leavingOf: (service) =>
      [...(leavingByServer.get(service) ?? [])].map(([realServer, list]) => ({
        realServer,
        ...mergeDrains(list),
      })),
  };
}

/** One real server in all IPVS services of its virtual service: over when the last of them is. */
function mergeDrains(list: readonly Drain[]): DrainProgress {
  const running = list.filter(({ end }) => end === null);
  const deadlines = (running.length > 0 ? running : list).map(({ deadlineAtMs }) => deadlineAtMs);
  const isTimed = deadlines.every((at) => at !== null);
  const ends = list.map(({ end }) => end);
  const end = ends.includes('deadline') ? 'deadline' : ends.includes('gone') ? 'gone' : 'absent';
  return {
    cause: list[0]?.cause ?? 'admin',
    sinceMs: list.reduce((least, { sinceMs }) => Math.min(least, sinceMs), Infinity),
    deadlineAtMs: isTimed ? deadlines.reduce((last, at) => Math.max(last, at), -Infinity) : null,
    first: sumConnections(list.map(({ first }) => first)),
    left: sumConnections(list.map(({ left }) => left)),
    end: running.length > 0 ? null : end,
  };
}

function listIn<K>(lists: Map<K, Drain[]>, key: K): Drain[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}
