/** The checks of one real server as people ask for them: each voter's word, what it saw, and what would change it. */
import { realServerKey } from '../core/health/checks.ts';
import { compoundOf } from '../core/health/compound.ts';
import { explainChange } from '../core/health/explain-check.ts';
import { patienceMs } from '../core/health/patience.ts';
import { formatEndpoint, type IpAddress } from '../model/address.ts';
import type { VipCheck } from '../model/check.ts';
import type { Check } from '../model/cluster.ts';
import type { CheckStatus, Vote } from '../model/health.ts';
import type { CheckId, DirectorId, MonoMs, RealServerId, ServiceId } from '../model/ids.ts';
import type { CheckReport, CheckReports, CheckRun, CheckVoter } from '../model/status-checks.ts';
import type { SeenCheck, SeenRun } from './probe-loop.ts';
import type { HealthDesk } from './health-desk.ts';

export type CheckReportsInput = {
  readonly me: DirectorId;
  readonly now: MonoMs;
  readonly desk: Pick<HealthDesk, 'checks' | 'statuses' | 'checkersOf'>;
  readonly votes: ReadonlyMap<CheckId, ReadonlyMap<DirectorId, Vote>>;
  /** What this director sees of a check; null: it does not run it. */
  readonly seen: (check: CheckId) => SeenCheck | null;
};

/** Empty where the real server is not checked, or is none. */
export function reportChecks(
  service: ServiceId,
  realServer: RealServerId,
  input: CheckReportsInput,
): CheckReports {
  const { desk, me } = input;
  const { byRealServer, compounds, checks } = desk.checks();
  const root = byRealServer.get(realServerKey(service, realServer));
  const compound = root === undefined ? undefined : compoundOf(root, compounds);
  const ids = new Set(compound?.leaves ?? (root === undefined ? [] : [root]));
  const found = checks.filter(({ id }) => ids.has(id));
  return {
    service,
    realServer,
    director: me,
    mode: compound?.mode ?? null,
    checks: found.map((check) => reportCheck(check, input)),
  };
}

const UNKNOWN: CheckStatus = { isUp: true, basis: 'initial', votesUp: 0, votesDown: 0 };

function reportCheck(check: Check, input: CheckReportsInput): CheckReport {
  const { id, spec } = check;
  const status = input.desk.statuses().get(id) ?? UNKNOWN;
  const seen = input.seen(id);
  const voters = votersOf(check, input, seen);
  const against = voters.filter(({ isUp }) => isUp === !status.isUp);
  return {
    id,
    kind: spec.kind,
    target: targetOf(check),
    intervalMs: spec.intervalMs,
    timeoutMs: spec.timeoutMs,
    rise: spec.rise,
    fall: spec.fall,
    isUp: status.isUp,
    basis: status.basis,
    voters,
    change: [
      ...explainChange({
        status,
        checkers: input.desk.checkersOf(id),
        timing: spec,
        patienceMs: patienceMs(spec),
        isHolders: spec.runBy === 'holder',
        against: against.map(({ director }) => director),
        contrary: seen?.contrary ?? null,
      }),
    ],
  };
}

const targetOf = ({ address, port, spec }: Check): string => {
  if (spec.kind === 'file') return spec.path;
  if (spec.kind === 'vip') return vipTarget(address, port, spec);
  return port === 0 ? address : formatEndpoint(address, port);
};

function vipTarget(address: IpAddress, port: number, { vip, tunnel }: VipCheck): string {
  const place = vip === null || port === 0 ? (vip ?? '') : formatEndpoint(vip, port);
  return `${place} at ${address}${tunnel === null ? '' : ` through ${tunnel.type}`}`;
}

function votersOf(
  { id }: Check,
  { me, votes, now }: CheckReportsInput,
  seen: SeenCheck | null,
): CheckVoter[] {
  const voters: CheckVoter[] = [...(votes.get(id)?.values() ?? [])].map((vote) => ({
    director: vote.director,
    isHere: vote.director === me,
    isUp: vote.isUp,
    since: vote.since,
    detail: vote.detail,
    seen: (vote.seen ?? []).map(
      ({ isUp, detail, times, latencyMs }): CheckRun => ({
        isUp,
        detail,
        times,
        latencyMs,
        lastedMs: null,
        agoMs: null,
      }),
    ),
    contrary: null,
    problem: null,
  }));
  if (seen !== null) {
    const own = {
      seen: seen.runs.map((run) => runOf(run, now)),
      contrary: seen.contrary,
      problem: seen.problem,
    };
    const mine = voters.findIndex(({ isHere }) => isHere);
    const silent = { director: me, isHere: true, isUp: null, since: null, detail: null };
    voters[mine < 0 ? voters.length : mine] = { ...(voters[mine] ?? silent), ...own };
  }
  return voters.toSorted((a, b) => (a.director < b.director ? -1 : 1));
}

const runOf = ({ said, times, firstAt, lastAt, latencyMs }: SeenRun, now: MonoMs): CheckRun => ({
  isUp: said.isUp,
  detail: said.detail,
  times,
  latencyMs: Math.round(latencyMs * 1000) / 1000,
  lastedMs: Math.round(lastAt - firstAt),
  agoMs: Math.max(0, Math.round(now - lastAt)),
});
