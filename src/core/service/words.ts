/** What was decided of a service and of its real servers, in sentences without their ends. */
import type { Connections } from './drain.ts';
import type {
  DrainProgress,
  Explanation,
  ServiceExplanation,
  WeightReason,
} from './explanation.ts';
import type { QuorumDecision, QuorumEvent } from './quorum.ts';

const WHY: Readonly<Record<WeightReason, string>> = {
  up: 'it is up',
  unchecked: 'no check is configured: it counts as up',
  'slow-start': 'it came back a short while ago, and gets its weight in steps',
  'fail-open': 'its checks fail, but more fail at once than is believed: all stay in',
  'down-removed': 'its checks fail: it is removed until they pass',
  'down-inhibited': 'its checks fail: weight 0 until they pass, who is connected stays',
  'sorry-removed': 'it is up, but the quorum is lost: the sorry server answers in its place',
  'sorry-inhibited': 'it is up, but the quorum is lost: weight 0 while the sorry server answers',
  'admin-drain': 'it is being drained: no new connections, who is connected stays',
  drained: 'it was drained, and is removed until it is ready again',
  'admin-maint': 'an operator took it out',
  'standby-cold': 'this director does not hold its group, and is a cold standby',
  'standby-own': 'it is this director, which answers what the holder of the group sends here',
  'standby-waits':
    'this director does not hold the group: the holder shares out, here nothing is sent on',
  duplicate: 'the same address and port stand earlier in the document',
};

/** Why a real server has its weight, with the numbers behind it. */
export function explainRealServer(explanation: Explanation): string {
  const { why, drain } = explanation;
  const details = [...weightDetails(explanation)];
  if (drain !== null) details.push(describeDrain(drain));
  return [WHY[why], ...details].join('; ');
}

function weightDetails({ why, weight, wantedWeight }: Explanation): readonly string[] {
  const details: string[] = [];
  const { configured, override, dynamic, full, ramped } = weight;
  if (why === 'slow-start') details.push(`weight ${ramped} of ${full}`);
  if (wantedWeight === null || wantedWeight === 0 || why === 'standby-own') return details;
  if (override !== null)
    details.push(`an operator set weight ${override}, the document has ${configured}`);
  else if (dynamic !== null && dynamic !== configured)
    details.push(`its check asks for weight ${dynamic}, the document has ${configured}`);
  return details;
}

/** How far a drain has come: `2 active, 1 inactive connections left of 40 at first`. */
export function describeDrain({ first, left, end }: DrainProgress): string {
  switch (end) {
    case 'gone':
      return 'all its connections are gone';
    case 'deadline':
      return left === null || totalOf(left) === 0
        ? 'its deadline has passed'
        : `its deadline has passed with ${describeLeft(left)} left`;
    case 'absent':
      return 'it was not in the table of this director: nothing to wait for';
    case null:
      if (left === null) return 'its connections are not known yet';
      return `${describeLeft(left)} left${first === null ? '' : ` of ${totalOf(first)} at first`}`;
  }
}

/** What a service does as a whole, one sentence for each thing that is not as on any day. */
export function explainService(explanation: ServiceExplanation): readonly string[] {
  const { isHere, standby, quorum, failOpen, sorry, leaving } = explanation;
  const sentences = [describeQuorum(quorum)];
  if (!isHere) sentences.push('this director does not hold its group, and is a cold standby');
  if (standby !== null)
    sentences.push(
      'this director is one of its real servers and does not hold its group: it answers what the holder sends here, and shares nothing out',
    );
  if (failOpen.isOpen)
    sentences.push(
      `${failOpen.up} of weight ${failOpen.up + failOpen.down} is up, less than ${failOpen.percent ?? 0} %: fail-open keeps all in`,
    );
  if (sorry === 'answering') sentences.push('the sorry server answers');
  if (sorry === 'held-back')
    sentences.push('the sorry server does not answer: fail-open goes first');
  for (const one of leaving)
    sentences.push(`${one.realServer} is no longer in the document: ${describeDrain(one)}`);
  return sentences;
}

export function describeQuorum(quorum: QuorumDecision): string {
  const { isUp, live, upAt, downBelow, isLowered } = quorum;
  const bound = isUp ? `it is lost below ${downBelow}` : `it is back at ${upAt}`;
  const lowered = isLowered
    ? ' (as much as all weights together, which is less than asked for)'
    : '';
  const state = isUp ? 'there' : 'lost';
  return `the quorum is ${state}: weight ${live} is live, ${bound}${lowered}`;
}

export const describeQuorumEvent = ({ service, decision }: QuorumEvent): string =>
  `${service}: ${describeQuorum(decision)}`;

const totalOf = ({ active, inactive, persistent }: Connections): number =>
  active + inactive + persistent;

function describeLeft({ active, inactive, persistent }: Connections): string {
  const parts = [`${active} active`, `${inactive} inactive connections`];
  if (persistent > 0) parts.push(`${persistent} persistence templates`);
  return parts.join(', ');
}
